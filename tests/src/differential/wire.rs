//! The connections to the two servers, and what is known of a request by looking at it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use larder_node::commands::{self, keys};
use larder_node::resp::{Limits, OwnedArgs, Reply, encode_request, read_reply};

use crate::transcript::play::Request;

/// A server that is silent for so long will not answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// One end of the comparison.
pub struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
    read: usize,
}

impl Wire {
    /// A connection in RESP2 or RESP3.
    ///
    /// # Panics
    /// Nobody listens.
    #[must_use]
    pub fn open(address: SocketAddr, protocol: u8) -> Self {
        Self::over(TcpStream::connect(address).expect("the server listens"), protocol)
    }

    /// As [`Wire::open`], over a connection that is there.
    ///
    /// # Panics
    /// It is of no use.
    #[must_use]
    pub fn over(stream: TcpStream, protocol: u8) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let mut wire = Self { stream, input: Vec::new(), read: 0 };
        if protocol == 3 {
            wire.ask(&request("HELLO 3"));
        }
        wire
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// The server is gone.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// The bytes of the next reply.
    ///
    /// # Panics
    /// There is none.
    pub fn reply(&mut self) -> Vec<u8> {
        loop {
            if let Some((_, length)) = read_reply(&self.input[self.read..], &Limits::DEFAULT).expect("a reply") {
                let reply = self.input[self.read..self.read + length].to_vec();
                self.read += length;
                return reply;
            }
            self.input.drain(..self.read);
            self.read = 0;
            let mut bytes = [0; 64 * 1024];
            let count = self.stream.read(&mut bytes).expect("the server answers");
            assert!(count > 0, "the server closed the connection");
            self.input.extend_from_slice(&bytes[..count]);
        }
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Panics
    /// There is none.
    pub fn ask(&mut self, words: &Request) -> Vec<u8> {
        self.send(&encoded(words));
        self.reply()
    }
}

/// A request of words without spaces in them.
#[must_use]
pub fn request(line: &str) -> Request {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Its bytes.
#[must_use]
pub fn encoded(words: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_request(OwnedArgs::from_slices(words).as_args(), &mut bytes);
    bytes
}

/// What a reply says.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Reply> {
    read_reply(bytes, &Limits::DEFAULT).ok().flatten().map(|(reply, _)| reply)
}

/// The name of the command, with that of the subcommand: `XGROUP CREATE`.
#[must_use]
pub fn name(request: &Request) -> String {
    match commands::resolve(OwnedArgs::from_slices(request).as_args()) {
        Ok(spec) => spec.name.replace('|', " "),
        Err(_) => request.first().map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()).unwrap_or_default(),
    }
}

/// As [`name`], of a request of which only the beginning is known.
#[must_use]
pub fn command_name(beginning: &Request) -> String {
    let upper = |at: usize| beginning.get(at).map(|word| String::from_utf8_lossy(word).to_ascii_uppercase());
    let both = upper(0).zip(upper(1)).map(|(name, sub)| format!("{name}|{sub}"));
    match both.filter(|both| commands::table().iter().any(|spec| spec.name == both)) {
        Some(both) => both.replace('|', " "),
        None => upper(0).unwrap_or_default(),
    }
}

/// The keys it names; a broken request may have none to find.
#[must_use]
pub fn all_keys(request: &Request) -> Vec<Vec<u8>> {
    let args = OwnedArgs::from_slices(request);
    let mut found = Vec::new();
    if let Ok(spec) = commands::resolve(args.as_args()) {
        let _ = keys::each(spec, args.as_args(), &mut |at, _| found.push(request[at].clone()));
    }
    found
}
