//! The command dialect, compatible with the Upstash REST API (facts/http-gateway.md section 1).
//!
//! `POST /` takes a JSON array, `/pipeline` and `/multi-exec` an array of them; any other path is itself the command.
//! Left out, and refused by name: the event streams `subscribe`, `psubscribe` and `monitor`.

use http::{HeaderName, Method, StatusCode};
use larder_node::commands::{self, Family, Flags, Spec};

use super::answer::{Answer, JSON, RESP};
use super::json::{BadJson, Commands, JsonLimits, read_command, read_commands};
use super::render::{self, Encoding};
use super::request::{Request, Shown, is_presign, pairs};
use crate::config::Http;
use crate::failure::{Failure, backend_status};
use crate::serve::Visit;

const ENCODING: HeaderName = HeaderName::from_static("upstash-encoding");
const RESPONSE_FORMAT: HeaderName = HeaderName::from_static("upstash-response-format");
const SYNC_TOKEN: HeaderName = HeaderName::from_static("upstash-sync-token");
const POST: &[Method] = &[Method::POST];
const POST_PUT: &[Method] = &[Method::POST, Method::PUT];
const PATH_METHODS: &[Method] = &[Method::GET, Method::HEAD, Method::POST, Method::PUT];
const SEGMENTS_MAX: usize = 4096;

/// Commands to run, and how their replies are to be written.
#[derive(Debug)]
pub(crate) struct Ask {
    form: Form,
    commands: Commands,
    format: Format,
}

/// How commands belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    One,
    Pipeline,
    Transaction,
}

/// How replies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json(Encoding),
    /// `Upstash-Response-Format: resp2`: the reply as it is.
    Resp2,
}

impl Format {
    /// What the two headers ask for.
    ///
    /// # Errors
    /// 400 for unknown values, and for both at once.
    fn read(request: &Request<'_>) -> Result<Format, Failure> {
        let encoding = match request.header(&ENCODING)? {
            None => Encoding::Plain,
            Some(text) if text.eq_ignore_ascii_case("base64") => Encoding::Base64,
            Some(_) => return Err(Failure::Malformed("Upstash-Encoding can only be base64".into())),
        };
        match request.header(&RESPONSE_FORMAT)? {
            None => Ok(Format::Json(encoding)),
            Some(text) if text.eq_ignore_ascii_case("json") => Ok(Format::Json(encoding)),
            Some(text) if text.eq_ignore_ascii_case("resp2") => match encoding {
                Encoding::Plain => Ok(Format::Resp2),
                Encoding::Base64 => Err(Failure::Malformed("resp2 and base64 exclude each other".into())),
            },
            Some(_) => Err(Failure::Malformed("Upstash-Response-Format is json or resp2".into())),
        }
    }
}

/// Reads a request of this dialect.
///
/// # Errors
/// 400 and 405.
pub(crate) fn read(request: &Request<'_>, shown: &Shown<'_>, settings: &Http) -> Result<Ask, Failure> {
    let format = Format::read(request)?;
    let limits = JsonLimits { commands_max: settings.limits.pipeline_commands_max, ..JsonLimits::default() };
    let (form, commands) = match request.place.rest {
        "" | "/" if request.method == Method::GET || request.method == Method::HEAD => {
            return Err(Failure::Malformed("POST a command as JSON array to /, or name it in the path".into()));
        }
        "" | "/" => (Form::One, only(request, POST_PUT, read_command(&request.body, &limits))?),
        "/pipeline" => (Form::Pipeline, only(request, POST, read_commands(&request.body, &limits))?),
        "/multi-exec" => (Form::Transaction, only(request, POST, read_commands(&request.body, &limits))?),
        path => (Form::One, path_form(request, path, shown.is_signed(), settings)?),
    };
    if commands.iter().any(|args| is_stream(args.get(0))) {
        return Err(Failure::NotBuilt("SUBSCRIBE, PSUBSCRIBE and MONITOR over HTTP (server-sent events)"));
    }
    Ok(Ask { form, commands, format })
}

fn only(
    request: &Request<'_>,
    allowed: &'static [Method],
    read: Result<Commands, BadJson>,
) -> Result<Commands, Failure> {
    if !allowed.contains(request.method) {
        return Err(Failure::Method(allowed));
    }
    read.map_err(|bad| Failure::Malformed(format!("{} (at byte {} of the body)", bad.what, bad.at).into()))
}

fn is_stream(name: &[u8]) -> bool {
    ["subscribe", "psubscribe", "monitor"].iter().any(|stream| name.eq_ignore_ascii_case(stream.as_bytes()))
}

fn path_form(request: &Request<'_>, path: &str, signed: bool, settings: &Http) -> Result<Commands, Failure> {
    if !PATH_METHODS.contains(request.method) {
        return Err(Failure::Method(PATH_METHODS));
    }
    let writes = request.method == Method::POST || request.method == Method::PUT;
    let body = if writes { &request.body[..] } else { &[] };
    let commands = path_command(path, body, request.query(), signed).map_err(|what| Failure::Malformed(what.into()))?;
    let changes = || commands::resolve(commands.get(0)).is_ok_and(|spec| !is_harmless(spec));
    // Streams are asked for by GET, and refused by name.
    if !writes && !settings.get_writes && !is_stream(commands.get(0).get(0)) && changes() {
        return Err(Failure::Method(POST_PUT));
    }
    Ok(commands)
}

/// `/set/key` + body + `?EX=100`: raw segments split at `/` and then decoded once, the body as one argument, then each
/// query parameter as its name and its value.
pub(crate) fn path_command(path: &str, body: &[u8], query: &str, signed: bool) -> Result<Commands, &'static str> {
    let mut commands = Commands::with_capacity(path.len() + body.len() + query.len());
    let bad_escape = |_| "malformed percent escape in the URL";
    for (at, segment) in path.strip_prefix('/').unwrap_or(path).split('/').enumerate() {
        if at == SEGMENTS_MAX {
            return Err("too many path segments; send the command as JSON");
        }
        commands.push_decoded(segment.as_bytes()).map_err(bad_escape)?;
    }
    if !body.is_empty() {
        commands.push(body);
    }
    let mut last = ("", "");
    for (name, value) in pairs(query).filter(|(name, _)| *name != "_token" && !is_presign(name)) {
        // A signature covers the parameters but neither their order nor a bare `=`, so those mean nothing here.
        let this = (name, value.unwrap_or_default());
        if signed && this < last {
            return Err("sort the query parameters: a signature does not cover their order");
        }
        last = this;
        commands.push_decoded(name.as_bytes()).map_err(bad_escape)?;
        if !this.1.is_empty() {
            commands.push_decoded(this.1.as_bytes()).map_err(bad_escape)?;
        }
    }
    commands.finish();
    Ok(commands)
}

/// Whether a GET may run it: a page must not be able to change anything by an image's address.
fn is_harmless(spec: &Spec) -> bool {
    let answers_only = matches!(spec.family, Family::Connection | Family::Server);
    spec.is_read() || (answers_only && !spec.is_write() && !spec.flags.has(Flags::ADMIN))
}

impl Ask {
    /// Runs the commands and writes their replies.
    ///
    /// # Errors
    /// Whatever kept one command, or a transaction, from running. Entries of a pipeline carry theirs.
    pub(crate) async fn run(&self, visit: &Visit<'_>) -> Result<Answer, Failure> {
        let mut answer = match self.form {
            Form::One => one(&visit.one(self.commands.get(0)).await?, self.format)?,
            Form::Pipeline => many(&visit.each(&self.commands).await, self.commands.len(), self.format)?,
            // The Upstash API answers JSON here whatever format is asked for.
            Form::Transaction => {
                let format = if self.format == Format::Resp2 { Format::Json(Encoding::Plain) } else { self.format };
                many(&visit.all(&self.commands).await?, self.commands.len(), format)?
            }
        };
        answer.set_text(SYNC_TOKEN, format!("{:08x}-{}", visit.gateway.run, visit.sync_token()));
        Ok(answer)
    }
}

fn one(reply: &[u8], format: Format) -> Result<Answer, Failure> {
    let status = render::error_text(reply).map_or(StatusCode::OK, backend_status);
    match format {
        Format::Resp2 => Ok(Answer::new(status, RESP, reply.to_vec())),
        Format::Json(encoding) => {
            let mut body = Vec::with_capacity(reply.len() + 16);
            render::envelope(reply, encoding, &mut body)?;
            Ok(Answer::new(status, JSON, body))
        }
    }
}

fn many(replies: &[u8], count: usize, format: Format) -> Result<Answer, Failure> {
    let Format::Json(encoding) = format else {
        let body = [format!("*{count}\r\n").as_bytes(), replies].concat();
        return Ok(Answer::new(StatusCode::OK, RESP, body));
    };
    let mut body = Vec::with_capacity(replies.len() + 16 * count + 2);
    let mut rest = replies;
    body.push(b'[');
    for at in 0..count {
        if at > 0 {
            body.push(b',');
        }
        rest = render::envelope(rest, encoding, &mut body)?;
    }
    body.push(b']');
    Ok(Answer::new(StatusCode::OK, JSON, body))
}

/// The answer of this dialect to a failure.
pub(crate) fn failed(failure: &Failure, format: Option<Format>) -> Answer {
    let text = failure.text();
    match format {
        Some(Format::Resp2) => Answer::new(failure.status(), RESP, format!("-{}\r\n", text.replace(['\r', '\n'], " "))),
        _ => {
            let mut body = Vec::with_capacity(text.len() + 16);
            render::write_error(text.as_bytes(), &mut body);
            Answer::new(failure.status(), JSON, body)
        }
    }
}

/// The format for a failure that came before the headers were judged.
pub(crate) fn format_of(headers: &http::HeaderMap) -> Option<Format> {
    let resp2 = headers.get(RESPONSE_FORMAT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"resp2"));
    resp2.then_some(Format::Resp2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(path: &str, body: &str, query: &str, signed: bool) -> Result<Vec<String>, &'static str> {
        let commands = path_command(path, body.as_bytes(), query, signed)?;
        assert_eq!(commands.len(), 1);
        Ok(commands.get(0).iter().map(|word| word.escape_ascii().to_string()).collect())
    }

    #[test]
    fn paths_are_split_before_they_are_decoded_once() {
        assert_eq!(words("/set/a%2Fb/c%2525", "", "", false).unwrap(), ["set", "a/b", "c%25"]);
        assert_eq!(words("/get/a+b", "", "", false).unwrap(), ["get", "a+b"]);
        assert_eq!(words("/get/..//x", "", "", false).unwrap(), ["get", "..", "", "x"]);
        assert_eq!(words("/get/%ff%00", "", "", false).unwrap(), ["get", "\\xff\\x00"]);
        for path in ["/get/%", "/get/%4", "/get/%u0041"] {
            assert!(words(path, "", "", false).is_err(), "{path}");
        }
    }

    #[test]
    fn the_body_is_one_argument_and_the_query_follows() {
        let query = "EX=100&NX&_token=secret&X-Amz-Date=1";
        assert_eq!(
            words("/set/k", "{\"a\":1}", query, false).unwrap(),
            ["set", "k", "{\\\"a\\\":1}", "EX", "100", "NX"]
        );
        assert_eq!(words("/set/k", "v", "NX=", false).unwrap(), ["set", "k", "v", "NX"]);
        assert_eq!(words("/get/k", "", "a=%2B+", false).unwrap(), ["get", "k", "a", "++"]);
    }

    #[test]
    fn a_signed_query_is_accepted_in_signed_order_only() {
        assert!(words("/lrange/k", "", "0&5", true).is_ok());
        assert!(words("/lrange/k", "", "5&0", true).is_err());
        assert!(words("/lrange/k", "", "5&0", false).is_ok());
    }

    #[test]
    fn segments_are_bounded_on_each_side() {
        assert!(words(&"/a".repeat(SEGMENTS_MAX), "", "", false).is_ok());
        assert!(words(&"/a".repeat(SEGMENTS_MAX + 1), "", "", false).is_err());
    }

    #[test]
    fn gets_run_only_what_changes_nothing() {
        let harmless = |name: &str| is_harmless(commands::find(name.as_bytes()).unwrap());
        assert!(["GET", "MGET", "TTL", "PING", "ECHO", "DBSIZE", "SCAN"].into_iter().all(harmless));
        assert!(!["SET", "GETEX", "GETDEL", "DEL", "EXPIRE", "FLUSHALL", "PUBLISH", "LPOP"].into_iter().any(harmless));
    }

    #[test]
    fn pipelines_render_one_envelope_per_reply() {
        let replies = b"+OK\r\n-NOPERM x\r\n:1\r\n";
        let text = |format| String::from_utf8(many(replies, 3, format).unwrap().body.to_vec()).unwrap();
        let json = r#"[{"result":"OK"},{"error":"NOPERM x"},{"result":1}]"#;
        assert_eq!(text(Format::Json(Encoding::Plain)), json);
        assert_eq!(text(Format::Resp2), "*3\r\n+OK\r\n-NOPERM x\r\n:1\r\n");
        assert!(many(replies, 4, Format::Json(Encoding::Plain)).is_err());
    }
}
