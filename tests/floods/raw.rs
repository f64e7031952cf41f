//! A WebSocket made by hand.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use matssocket_testing::*;

use super::FLOOD;

/// A WebSocket made by hand, on a blocking socket.
pub struct Raw {
    pub stream: TcpStream,
    /// Never reads.
    pub deaf: bool,
}

impl Raw {
    pub fn connect(address: SocketAddr) -> Raw {
        // With a small receive buffer, so that not reading shows soon.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        socket
            .set_recv_buffer_size(4_096)
            .expect("a receive buffer");
        socket.connect(&address.into()).expect("TCP");
        let stream = TcpStream::from(socket);
        stream
            .set_write_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut raw = Raw {
            stream,
            deaf: false,
        };
        let request = format!(
            "GET /matssocket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: matssocket\r\n\r\n"
        );
        raw.stream.write_all(request.as_bytes()).unwrap();
        let response = raw.read_until(b"\r\n\r\n");
        assert!(response.starts_with("HTTP/1.1 101"), "{response}");
        raw
    }

    /// With HELLO said; the session's id.
    pub fn hello(address: SocketAddr, user: &str) -> (Raw, String) {
        let mut raw = Raw::connect(address);
        let hello = json!([Client::new(user).hello()]).to_string();
        raw.stream
            .write_all(&frame(0x81, hello.as_bytes()))
            .unwrap();
        let welcome = raw.read_until(b"}]");
        let json = &welcome[welcome.find("[{").expect("WELCOME")..];
        let welcome: Value = serde_json::from_str(json).expect("WELCOME is JSON");
        (raw, welcome[0]["sid"].as_str().expect("sid").to_owned())
    }

    /// Writes as much of this as the server takes: it reads no more if it takes nothing for half a second. How much it
    /// took.
    pub fn write_what_is_taken(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.stream.write(&bytes[written..]) {
                Ok(more) => written += more,
                Err(_) => break,
            }
        }
        written
    }

    pub fn read_until(&mut self, end: &[u8]) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end) {
            let mut byte = [0];
            self.stream
                .read_exact(&mut byte)
                .expect("the server answers");
            read.push(byte[0]);
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Writes this again and again, until the server ends the connection or the flood has lasted its time. True:
    /// ended by the server.
    pub fn flood(&mut self, chunk: &[u8]) -> bool {
        let from = Instant::now();
        let (mut at, mut written) = (0, 0_u64);
        // A deaf client is given up, but its socket may stay for a while.
        let longest = if self.deaf { FLOOD / 3 } else { FLOOD };
        while from.elapsed() < longest {
            match self.stream.write(&chunk[at..]) {
                Ok(bytes) => {
                    written += bytes as u64;
                    at = (at + bytes) % chunk.len();
                }
                // The kernel may keep what is left of a connection that the server has ended, and take no more.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if !self.deaf && self.at_end() {
                        return true;
                    }
                }
                Err(_) => return true,
            }
        }
        println!("not ended after {longest:?} and {written} bytes");
        false
    }

    /// Whether the server has ended its side; what it sent is skipped.
    pub fn at_end(&mut self) -> bool {
        let mut skipped = [0; 10_000];
        self.stream.set_nonblocking(true).unwrap();
        let end = loop {
            match self.stream.read(&mut skipped) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break error.kind() != ErrorKind::WouldBlock,
            }
        };
        self.stream.set_nonblocking(false).unwrap();
        end
    }

    /// The code of the Close that came at last, if one did. What came before it is skipped.
    pub fn close_code(&mut self) -> Option<u16> {
        let mut read = Vec::new();
        let _ = self.stream.read_to_end(&mut read);
        let mut at = 0;
        while at + 2 <= read.len() {
            let (header, length) = match read[at + 1] {
                126 => (
                    4,
                    usize::from(u16::from_be_bytes([*read.get(at + 2)?, *read.get(at + 3)?])),
                ),
                127 => return None,
                short => (2, usize::from(short)),
            };
            if read[at] == 0x88 {
                return Some(u16::from_be_bytes([
                    *read.get(at + header)?,
                    *read.get(at + header + 1)?,
                ]));
            }
            at += header + length;
        }
        None
    }
}

/// A masked frame (with a mask of zeros) of less than 64 KiB.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    if payload.len() < 126 {
        frame.push(0x80 | payload.len() as u8);
    } else {
        frame.push(0x80 | 126);
        frame.extend((payload.len() as u16).to_be_bytes());
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// The header of a text frame that announces so many bytes.
pub fn announced(bytes: u64) -> Vec<u8> {
    let mut header = vec![0x81, 0x80 | 127];
    header.extend(bytes.to_be_bytes());
    header.extend([0; 4]);
    header
}
