//! Signatures by the aws-sigv4 crate.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningInstructions, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use larder_tests::wire::Request;

/// Who signs, for what, and how wrong its clock is.
#[derive(Clone, Copy)]
pub(crate) struct Sign {
    pub(crate) id: &'static str,
    pub(crate) secret: &'static str,
    pub(crate) service: &'static str,
    pub(crate) region: &'static str,
    pub(crate) skew_s: i64,
}

impl Sign {
    pub(crate) const fn by(id: &'static str, secret: &'static str) -> Sign {
        Sign { id, secret, service: "elasticache", region: "us-east-1", skew_s: 0 }
    }
}

fn instructions(by: &Sign, request: &Request, to: SocketAddr, expires_in: Option<Duration>) -> SigningInstructions {
    let identity = Credentials::new(by.id, by.secret, None, None, "test").into();
    let mut settings = SigningSettings::default();
    if expires_in.is_some() {
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = expires_in;
    }
    let now = SystemTime::now();
    let skew = Duration::from_secs(by.skew_s.unsigned_abs());
    let time = if by.skew_s < 0 { now - skew } else { now + skew };
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(by.region)
        .name(by.service)
        .time(time)
        .settings(settings)
        .build()
        .unwrap();
    let host = to.to_string();
    let has_host = request.headers.iter().any(|(name, _)| name == "host");
    let headers = (!has_host)
        .then_some(("host", host.as_str()))
        .into_iter()
        .chain(request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let uri = format!("http://{to}{}", request.target);
    let body = SignableBody::Bytes(&request.body);
    let signable = SignableRequest::new(&request.method, uri, headers, body).unwrap();
    sign(signable, &params.into()).unwrap().into_parts().0
}

/// The request, signed in its head.
pub(crate) fn signed(by: &Sign, request: Request, to: SocketAddr) -> Request {
    let (headers, _) = instructions(by, &request, to, None).into_parts();
    headers.iter().fold(request, |request, header| request.with(header.name(), header.value()))
}

/// The request, pre-signed.
pub(crate) fn presigned(by: &Sign, request: &Request, to: SocketAddr, good_for: Duration) -> Request {
    let (_, query) = instructions(by, request, to, Some(good_for)).into_parts();
    let encode = |text: &str| -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
    };
    let query: Vec<_> = query.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    Request { target: format!("{}?{}", request.target, query.join("&")), ..request.clone() }
}
