//! Plays a transcript against one server.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use larder_node::resp::{Limits, OwnedArgs, encode_request, read_reply};

use super::script::{Act, Do, Script, Step, Word};
use super::shortened;

/// A server that is silent for so long will not answer: the transcript ends there, and fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// Keys that come and go between two calls of a scan.
const COMERS: usize = 40;

/// A request, word by word.
pub type Request = Vec<Vec<u8>>;

/// What one wait of a transcript brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The line that waited.
    pub line: usize,
    /// The request it belongs to; empty for a message, and where raw bytes asked.
    pub request: Request,
    /// What it answers, when it answers EXEC: the requests that were queued.
    pub queued: Vec<Request>,
    /// What came.
    pub got: Got,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Got {
    /// The bytes of a reply.
    Reply(Vec<u8>),
    /// The keys of a whole scan.
    Keys(BTreeSet<Vec<u8>>),
    /// The end of the connection.
    Closed,
    /// Nothing, or nothing that is a reply: the transcript was given up here.
    Nothing(String),
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(bytes) => f.write_str(&shortened(bytes)),
            Self::Keys(keys) => {
                let keys: Vec<String> = keys.iter().map(|key| shortened(key)).collect();
                write!(f, "{} keys: {}", keys.len(), keys.join(" "))
            }
            Self::Closed => f.write_str("(closed)"),
            Self::Nothing(why) => write!(f, "({why})"),
        }
    }
}

/// Plays one transcript.
pub struct Player {
    address: SocketAddr,
    protocol: u8,
    /// The node, and not its oracle.
    ours: bool,
    wires: BTreeMap<String, Wire>,
    answers: Vec<Answer>,
}

impl Player {
    /// A player against the server at `address`; `ours` when that is the node.
    #[must_use]
    pub fn new(address: SocketAddr, protocol: u8, ours: bool) -> Self {
        Self { address, protocol, ours, wires: BTreeMap::new(), answers: Vec::new() }
    }

    /// Plays it all; what each wait brought, in order. The first wait that brings nothing ends it.
    #[must_use]
    pub fn play(mut self, script: &Script) -> Vec<Answer> {
        let protocol = self.protocol;
        for step in script.steps.iter().filter(|step| step.only.is_none_or(|only| only == protocol)) {
            if let Err(why) = self.step(step) {
                self.note(step.line, Vec::new(), Got::Nothing(why));
                break;
            }
        }
        self.answers
    }

    fn note(&mut self, line: usize, request: Request, got: Got) {
        self.answers.push(Answer { line, request, queued: Vec::new(), got });
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let line = step.line;
        // Requests that nobody waits for gather, to leave in one write.
        if !matches!(step.act, Act::On(_, Do::Send { wait: false, .. })) {
            self.wires.values_mut().try_for_each(Wire::flush)?;
        }
        match &step.act {
            Act::Blocked(count) => self.until_blocked(*count),
            Act::On(name, Do::OpenBare) => {
                Wire::open(self.address).map(|wire| drop(self.wires.insert(name.clone(), wire)))
            }
            Act::On(name, Do::Close) => self.wires.remove(name).map(drop).ok_or(format!("{name} is not open")),
            Act::On(name, does) => {
                self.open(name, line)?;
                self.on(name, does, line)
            }
        }
    }

    /// Opens a connection that is not open, in the protocol of this run.
    fn open(&mut self, name: &str, line: usize) -> Result<(), String> {
        if self.wires.contains_key(name) {
            return Ok(());
        }
        let mut wire = Wire::open(self.address)?;
        if self.protocol == 3 {
            let hello = vec![b"HELLO".to_vec(), b"3".to_vec()];
            let got = wire.ask(&hello)?;
            self.note(line, hello, got);
        }
        self.wires.insert(name.to_owned(), wire);
        Ok(())
    }

    fn on(&mut self, name: &str, does: &Do, line: usize) -> Result<(), String> {
        let (protocol, ours) = (self.protocol, self.ours);
        let wire = self.wires.get_mut(name).ok_or("not open")?;
        let filled = |words: &[Word]| words.iter().map(|word| word.bytes(protocol)).collect::<Vec<_>>();
        match does {
            Do::OpenBare | Do::Close => {}
            Do::Send { words, wait } => {
                wire.send(&filled(words));
                if *wait {
                    wire.flush()?;
                    self.answers.push(wire.receive(line)?);
                }
            }
            Do::Raw(words) => {
                wire.output.extend(filled(words).concat());
                wire.flush()?;
            }
            Do::Read(count) => {
                for _ in 0..*count {
                    self.answers.push(wire.receive(line)?);
                }
            }
            Do::Closed => {
                let got = wire.end()?;
                self.note(line, Vec::new(), got);
                self.wires.remove(name);
            }
            Do::Shut => wire.stream.shutdown(Shutdown::Write).map_err(|error| error.to_string())?,
            Do::Until(reply, words) => {
                let request = filled(words);
                let started = Instant::now();
                while wire.ask(&request)? != Got::Reply(reply.clone()) {
                    if started.elapsed() > PATIENCE {
                        return Err("that reply never came".into());
                    }
                    std::thread::yield_now();
                }
                self.note(line, request, Got::Reply(reply.clone()));
            }
            Do::Scan { options, amid } => {
                let options = filled(options);
                let got = wire.scan(&options, *amid)?;
                self.note(line, [vec![b"SCAN".to_vec(), b"0".to_vec()], options].concat(), got);
            }
            Do::Stated(reply, words) => {
                let request = filled(words);
                let got = wire.ask(&request)?;
                let unknown = matches!(&got, Got::Reply(bytes) if bytes.starts_with(b"-ERR unknown"));
                // The oracle has to be without the command, or its own reply would be the one to compare with.
                let got = if !ours && unknown { Got::Reply(reply.clone()) } else { got };
                self.note(line, request, got);
            }
        }
        Ok(())
    }

    /// Asks on a connection of its own, which no transcript sees.
    fn until_blocked(&mut self, count: usize) -> Result<(), String> {
        let mut wire = Wire::open(self.address)?;
        let (started, wanted) = (Instant::now(), format!("\r\nblocked_clients:{count}\r\n"));
        loop {
            let Got::Reply(info) = wire.ask(&[b"INFO".to_vec(), b"clients".to_vec()])? else {
                return Err("no INFO".into());
            };
            if info.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
                // It is gone before CLIENT LIST may be asked.
                wire.ask(&[b"QUIT".to_vec()])?;
                while wire.fill()? {}
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("never were {count} clients blocked"));
            }
            std::thread::yield_now();
        }
    }
}

/// One connection.
struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Requests whose replies have not been read.
    asked: VecDeque<Request>,
    /// Requests that MULTI has queued.
    queued: Vec<Request>,
}

impl Wire {
    fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| format!("cannot connect: {error}"))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self { stream, input: Vec::new(), output: Vec::new(), asked: VecDeque::new(), queued: Vec::new() })
    }

    fn flush(&mut self) -> Result<(), String> {
        let output = std::mem::take(&mut self.output);
        self.stream.write_all(&output).map_err(|error| format!("cannot send: {error}"))
    }

    fn send(&mut self, request: &[Vec<u8>]) {
        encode_request(OwnedArgs::from_slices(request).as_args(), &mut self.output);
        self.asked.push_back(request.to_vec());
    }

    fn ask(&mut self, request: &[Vec<u8>]) -> Result<Got, String> {
        self.send(request);
        self.flush()?;
        self.receive(0).map(|answer| answer.got)
    }

    /// The next reply or message, with the oldest request that still waits for one.
    fn receive(&mut self, line: usize) -> Result<Answer, String> {
        let reply: Vec<u8> = loop {
            match read_reply(&self.input, &Limits::DEFAULT) {
                Ok(Some((_, length))) => break self.input.drain(..length).collect(),
                Ok(None) if self.fill()? => {}
                Ok(None) => return Err(format!("closed amid {}", shortened(&self.input))),
                Err(error) => return Err(format!("no reply, {error}: {}", shortened(&self.input))),
            }
        };
        let request = self.asked.pop_front().unwrap_or_default();
        let mut queued = Vec::new();
        if reply == b"+QUEUED\r\n" && !request.is_empty() {
            self.queued.push(request.clone());
        } else if request.first().is_some_and(|name| !name.eq_ignore_ascii_case(b"MULTI")) && !reply.starts_with(b"-") {
            queued = std::mem::take(&mut self.queued);
        }
        Ok(Answer { line, request, queued, got: Got::Reply(reply) })
    }

    /// Reads some bytes; false at the end.
    fn fill(&mut self) -> Result<bool, String> {
        let mut bytes = vec![0; 64 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(count) => {
                self.input.extend_from_slice(&bytes[..count]);
                Ok(count > 0)
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Ok(false),
            Err(error) => Err(format!("nothing came: {error}")),
        }
    }

    /// Waits for the end; what comes before it is no end.
    fn end(&mut self) -> Result<Got, String> {
        while self.input.is_empty() {
            if !self.fill()? {
                return Ok(Got::Closed);
            }
        }
        Ok(Got::Nothing(format!("not closed, but {}", shortened(&self.input))))
    }

    /// SCAN from 0 to 0. `amid`: between two calls some keys `comer:N` appear, and those of the last time go.
    fn scan(&mut self, options: &[Vec<u8>], amid: bool) -> Result<Got, String> {
        let (mut cursor, mut keys, mut round) = (b"0".to_vec(), BTreeSet::new(), 0);
        loop {
            let mut request = vec![b"SCAN".to_vec(), cursor];
            request.extend(options.iter().cloned());
            let Got::Reply(reply) = self.ask(&request)? else { return Err("no reply".into()) };
            let read = read_reply(&reply, &Limits::DEFAULT).map_err(|error| error.to_string())?;
            let Some((next, found)) = read.and_then(|(reply, _)| page(reply)) else { return Ok(Got::Reply(reply)) };
            keys.extend(found);
            if next == b"0" {
                return Ok(Got::Keys(keys));
            }
            cursor = next;
            if amid {
                round += 1;
                self.come_and_go(round)?;
            }
            if round > 10_000 {
                return Err("the scan does not end".into());
            }
        }
    }

    fn come_and_go(&mut self, round: usize) -> Result<(), String> {
        let names = |round: usize| (0..COMERS).map(move |n| format!("comer:{}", round * COMERS + n).into_bytes());
        let come = [b"MSET".to_vec()].into_iter().chain(names(round).flat_map(|name| [name, b"x".to_vec()]));
        let go = [b"DEL".to_vec()].into_iter().chain(names(round - 1));
        self.ask(&come.collect::<Vec<_>>())?;
        self.ask(&go.collect::<Vec<_>>())?;
        Ok(())
    }
}

/// The next cursor and the keys of one SCAN.
fn page(reply: larder_node::resp::Reply) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    use larder_node::resp::Reply::{Array, Bulk};
    let Array(parts) = reply else { return None };
    let parts: [larder_node::resp::Reply; 2] = parts.try_into().ok()?;
    let [Bulk(next), Array(keys)] = parts else { return None };
    let keys = keys.into_iter().map(|key| if let Bulk(key) = key { Some(key) } else { None });
    Some((next, keys.collect::<Option<_>>()?))
}
