//! Bytes on sockets, for tests that must say exactly what is sent and from where.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Nothing here waits longer for a peer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The address clients have unless a test says otherwise.
pub const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A connection from an address of this machine: on Linux all of 127.0.0.0/8 is loopback.
///
/// # Errors
/// The system's.
pub fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect(&to.into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// An HTTP request as it is sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Headers but Host and Content-Length, which are added unless they are here.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(each, _)| each == name).map(|(_, value)| value.as_str())
    }
}

impl Request {
    /// A request without headers.
    pub fn new(method: &str, target: &str, body: impl AsRef<[u8]>) -> Request {
        let body = body.as_ref().to_vec();
        Request { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body }
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Request {
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// Its bytes.
    pub fn bytes(&self, to: SocketAddr) -> Vec<u8> {
        let has = |name: &str| self.headers.iter().any(|(each, _)| each.eq_ignore_ascii_case(name));
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !has("host") {
            bytes += &format!("host: {to}\r\n");
        }
        if !has("content-length") && (!self.body.is_empty() || self.method != "GET") {
            bytes += &format!("content-length: {}\r\n", self.body.len());
        }
        self.headers.iter().for_each(|(name, value)| bytes += &format!("{name}: {value}\r\n"));
        [bytes.as_bytes(), b"\r\n", &self.body].concat()
    }

    /// Sends it on a connection of its own.
    ///
    /// # Errors
    /// No connection, or no whole answer.
    pub fn send(&self, from: IpAddr, to: SocketAddr) -> std::io::Result<Answer> {
        let stream = connect(from, to)?;
        self.send_on(&stream, to)
    }

    /// Sends it on an open connection.
    ///
    /// # Errors
    /// No whole answer.
    pub fn send_on(&self, mut stream: &TcpStream, to: SocketAddr) -> std::io::Result<Answer> {
        stream.write_all(&self.bytes(to))?;
        read_answer(&mut BufReader::new(stream), self.method == "HEAD")
    }
}

/// Reads one answer.
///
/// # Errors
/// The connection ends before it is whole.
pub fn read_answer(reader: &mut impl BufRead, is_head: bool) -> std::io::Result<Answer> {
    let mut line = || {
        let mut line = String::new();
        match reader.read_line(&mut line)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok::<_, std::io::Error>(line.trim_end().to_owned()),
        }
    };
    let status = line()?.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut headers = Vec::new();
    loop {
        let text = line()?;
        let Some((name, value)) = text.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, text)| text.parse().ok());
    let mut body = vec![0; if is_head { 0 } else { length.unwrap_or(0) }];
    reader.read_exact(&mut body)?;
    Ok(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

/// A RESP client that shows replies as text.
pub struct Resp {
    stream: BufReader<TcpStream>,
}

impl Resp {
    /// Connects from an address.
    ///
    /// # Errors
    /// The system's.
    pub fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<Resp> {
        Ok(Resp { stream: BufReader::new(connect(from, to)?) })
    }

    /// Sends a command and reads its reply: `OK`, `-ERR …`, `:1`, the value, `(nil)`, `[a, b]`.
    ///
    /// # Errors
    /// The connection ends.
    pub fn ask(&mut self, words: &[&str]) -> std::io::Result<String> {
        self.send(words)?;
        self.reply()
    }

    /// Sends a command and reads nothing.
    ///
    /// # Errors
    /// The connection ends.
    pub fn send(&mut self, words: &[&str]) -> std::io::Result<()> {
        let mut request = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| request += &format!("${}\r\n{word}\r\n", word.len()));
        self.stream.get_mut().write_all(request.as_bytes())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection ends.
    pub fn send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends bytes as they are and reads until the other side closes.
    ///
    /// # Errors
    /// The connection stays open.
    pub fn send_and_read_to_end(&mut self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, WouldBlock};
        let mut said = Vec::new();
        let outcome = self.stream.get_mut().write_all(bytes).and_then(|()| self.stream.read_to_end(&mut said));
        match outcome {
            // A peer that closes with our bytes unread resets the connection.
            Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset) => Ok(said),
            Err(error) if error.kind() == WouldBlock => Err(std::io::ErrorKind::TimedOut.into()),
            Err(error) => Err(error),
            Ok(_) => Ok(said),
        }
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// The connection ends.
    pub fn reply(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at(1.min(line.len()));
        let length = rest.parse::<i64>().unwrap_or(0);
        Ok(match kind {
            "+" => rest.to_owned(),
            "$" | "*" if length < 0 => "(nil)".to_owned(),
            "$" => {
                let mut value = vec![0; length as usize + 2];
                self.stream.read_exact(&mut value)?;
                String::from_utf8_lossy(&value[..length as usize]).into_owned()
            }
            "*" => {
                let each = (0..length).map(|_| self.reply()).collect::<std::io::Result<Vec<_>>>()?;
                format!("[{}]", each.join(", "))
            }
            _ => line.to_owned(),
        })
    }
}
