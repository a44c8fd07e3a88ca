//! `larder token mint` and `inspect`: signed-policy tokens, offline (contract section 6).

use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use larder_iam_policies::jwt::{self, Claims, MintKey, Token};

use crate::args::Mint;
use crate::outcome::{Failure, say};

/// Prints a new token.
pub(crate) fn mint(flags: &Mint) -> Result<(), Failure> {
    let policy = policy(&flags.policy)?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let expires_at_s = now_s.saturating_add(flags.ttl);
    let id = flags.id.as_deref();
    let token = match &flags.narrow {
        Some(parent) => jwt::narrow(parent.trim(), &policy, now_s, expires_at_s, id),
        None => root(flags, &policy, now_s, expires_at_s, id)?,
    };
    say(&format!("{}\n", token.map_err(|what| Failure::Mistake(format!("no token was minted: {what}")))?))
}

fn root(
    flags: &Mint,
    policy: &str,
    now_s: u64,
    expires_at_s: u64,
    id: Option<&str>,
) -> Result<Result<String, String>, Failure> {
    let pem;
    let key = match (&flags.private_key, &flags.secret) {
        (Some(file), _) => {
            pem = std::fs::read(file).map_err(|error| {
                Failure::Mistake(format!("cannot read the private key {}: {error}", file.display()))
            })?;
            MintKey::PrivatePem(&pem)
        }
        (None, Some(secret)) => MintKey::Secret(secret.as_bytes()),
        (None, None) => {
            let what = "minting needs AWS_SECRET_ACCESS_KEY (or --secret), or --private-key";
            return Err(Failure::Usage(what.to_owned()));
        }
    };
    let issuer = issuer(flags.principal.as_deref().unwrap_or_default(), &flags.account);
    let audience = format!("arn:aws:cache:{}:{}:cache/{}", flags.region, flags.account, flags.cache);
    let claims = Claims { issuer: &issuer, audience: &audience, policy, issued_at_s: now_s, expires_at_s, id };
    Ok(jwt::mint(flags.key.as_deref().unwrap_or_default(), &key, &claims))
}

fn issuer(principal: &str, account: &str) -> String {
    match principal {
        arn if arn.starts_with("arn:") => arn.to_owned(),
        "root" => format!("arn:aws:iam::{account}:root"),
        name => format!("arn:aws:iam::{account}:user/{name}"),
    }
}

fn policy(given: &str) -> Result<String, Failure> {
    if given.trim_start().starts_with('{') {
        return Ok(given.to_owned());
    }
    std::fs::read_to_string(given).map_err(|error| Failure::Mistake(format!("cannot read the policy {given}: {error}")))
}

/// Prints what a token says, the token first and its parents behind it.
pub(crate) fn inspect(given: &str) -> Result<(), Failure> {
    let mut text = given.to_owned();
    if given == "-" {
        text.clear();
        let read = std::io::stdin().lock().take(2 * jwt::TOKEN_BYTES_MAX as u64).read_to_string(&mut text);
        read.map_err(|error| Failure::Mistake(format!("cannot read the token: {error}")))?;
    }
    let token = Token::read(text.trim()).map_err(|error| Failure::Mistake(format!("that is no token: {error}")))?;
    let mut page = format!("key: {}\nsignature: not checked; that needs the key\n", token.key_id);
    for (parents, claims) in token.describe().iter().enumerate() {
        page.push_str(&if parents == 0 { "token: ".to_owned() } else { format!("parent {parents}: ") });
        page.push_str(claims);
        page.push('\n');
    }
    say(&page)
}
