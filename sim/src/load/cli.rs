//! The command line of `larder-load`.

use super::http::Http;
use super::open::Open;
use super::resp::Resp;
use super::sign::Signing;
use super::{Door, Measured, Until};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// What `larder-load` prints when asked wrongly.
pub const HELP: &str = "\
Load for benches; prints one JSON object.

larder-load resp --address IP:PORT --command TEXT [--connections 50] [--user NAME --password WORD] [--pipeline 1]
                 [--keys 1000000] [--seconds 2] [--operations N] [--seed 1] [--server PID]
larder-load open --address IP:PORT --command TEXT --rate N [--connections 50] [--user NAME --password WORD]
                 [--keys 1000000] [--seconds 2] [--seed 1] [--server PID]
larder-load sign --host HOST:PORT --file FILE [--cache default] [--method get|put] [--keys 100000] [--value-bytes 64]
                 [--key-id test] [--secret test] [--region us-east-1]
larder-load http --address IP:PORT --file FILE [--connections 50] [--seconds 2] [--operations N] [--server PID]

In a command, {key} is a number drawn below --keys, {n} the number of the operation, {key%100} and {n%100} the same below
100, each as 12 digits; {x64} is 64 bytes. With --operations, --seconds only counts if it is given. With --server, the
load begins when that process rests, and its processor time is told.
";

/// Does what `args` ask; gives the line to print.
///
/// # Errors
/// What is wrong with the words, or what went wrong.
pub fn run(args: &[String]) -> Result<String, String> {
    let (word, rest) = args.split_first().ok_or(HELP)?;
    let mut flags = Flags::parse(rest)?;
    match word.as_str() {
        "resp" => print(resp(&mut flags)?.run()),
        "open" => print(open(&mut flags)?.run()),
        "http" => print(http(&mut flags)?.run()),
        "sign" => sign(&mut flags),
        _ => Err(HELP.to_owned()),
    }
}

fn print(measured: std::io::Result<Measured>) -> Result<String, String> {
    let measured = measured.map_err(|error| error.to_string())?;
    serde_json::to_string(&measured).map_err(|error| error.to_string())
}

fn resp(flags: &mut Flags) -> Result<Resp, String> {
    let run = Resp {
        door: flags.door()?,
        command: flags.value("command", None)?,
        pipeline: flags.value("pipeline", Some("1"))?,
        keys: flags.value("keys", Some("1000000"))?,
        until: flags.until()?,
        seed: flags.value("seed", Some("1"))?,
    };
    flags.end().map(|()| run)
}

fn open(flags: &mut Flags) -> Result<Open, String> {
    let run = Open {
        door: flags.door()?,
        command: flags.value("command", None)?,
        keys: flags.value("keys", Some("1000000"))?,
        rate: flags.value("rate", None)?,
        time: flags.seconds()?,
        seed: flags.value("seed", Some("1"))?,
    };
    flags.end().map(|()| run)
}

fn http(flags: &mut Flags) -> Result<Http, String> {
    let path = flags.text("file", None)?;
    let run = Http {
        door: flags.door()?,
        file: fs::read(&path).map_err(|error| format!("{path}: {error}"))?,
        until: flags.until()?,
    };
    flags.end().map(|()| run)
}

fn sign(flags: &mut Flags) -> Result<String, String> {
    let put = match flags.text("method", Some("get"))?.as_str() {
        "get" => false,
        "put" => true,
        other => return Err(format!("--method {other}: can be get, put")),
    };
    let signing = Signing {
        host: flags.text("host", None)?,
        cache: flags.text("cache", Some("default"))?,
        key_id: flags.text("key-id", Some("test"))?,
        secret: flags.text("secret", Some("test"))?,
        region: flags.text("region", Some("us-east-1"))?,
        put,
        value_bytes: flags.value("value-bytes", Some("64"))?,
    };
    let keys: u64 = flags.value("keys", Some("100000"))?;
    let path = flags.text("file", None)?;
    flags.end()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
    let file = signing.file(keys, now.as_secs());
    fs::write(&path, &file).map_err(|error| format!("{path}: {error}"))?;
    Ok(format!("{{\"requests\":{keys},\"bytes\":{}}}", file.len()))
}

/// `--name value` pairs.
struct Flags(BTreeMap<String, String>);

impl Flags {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut flags = BTreeMap::new();
        for pair in args.chunks(2) {
            match pair {
                [name, value] if name.starts_with("--") => flags.insert(name[2..].to_owned(), value.clone()),
                _ => return Err(format!("`{}`: flags come as --name value\n\n{HELP}", pair.join(" "))),
            };
        }
        Ok(Self(flags))
    }

    fn text(&mut self, name: &str, default: Option<&str>) -> Result<String, String> {
        let given = self.0.remove(name).or_else(|| default.map(str::to_owned));
        given.ok_or_else(|| format!("--{name} is needed\n\n{HELP}"))
    }

    fn value<T: FromStr<Err: Display>>(&mut self, name: &str, default: Option<&str>) -> Result<T, String> {
        let text = self.text(name, default)?;
        text.parse().map_err(|why| format!("--{name} {text}: not understood: {why}"))
    }

    fn until(&mut self) -> Result<Until, String> {
        if !self.0.contains_key("operations") {
            return self.seconds().map(Until::elapsed);
        }
        let time = if self.0.contains_key("seconds") { Some(self.seconds()?) } else { None };
        Ok(Until { time, operations: Some(self.value("operations", None)?) })
    }

    fn seconds(&mut self) -> Result<Duration, String> {
        let seconds: f64 = self.value("seconds", Some("2"))?;
        Duration::try_from_secs_f64(seconds).map_err(|_| format!("--seconds {seconds}: not a time"))
    }

    fn door(&mut self) -> Result<Door, String> {
        let login = match self.0.remove("user") {
            Some(user) => Some((user, self.text("password", None)?)),
            None => None,
        };
        let connections = self.value("connections", Some("50"))?;
        let server = if self.0.contains_key("server") { Some(self.value("server", None)?) } else { None };
        Ok(Door { address: self.value("address", None)?, connections, login, server })
    }

    fn end(&self) -> Result<(), String> {
        match self.0.keys().next() {
            Some(name) => Err(format!("there is no flag --{name} here\n\n{HELP}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_words_are_refused_by_name() {
        let said = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            run(&words).unwrap_err()
        };
        assert!(said("").contains("larder-load resp"));
        assert!(said("resp --command").contains("--name value"));
        assert!(said("resp --command PING").contains("--address"));
        assert!(said("resp --command {push} --address 127.0.0.1:1").contains("push"));
        assert!(said("resp --command PING --address 127.0.0.1:1 --conections 3").contains("--conections"));
        assert!(said("http --file /nowhere/at-all --address 127.0.0.1:1").contains("/nowhere/at-all"));
        assert!(said("resp --command PING --address 127.0.0.1:1 --seconds -1").contains("--seconds"));
    }
}
