// SPDX-License-Identifier: Apache-2.0
//! A socket that listens, and that can stop to without losing who has connected.
//!
//! Closing a listening socket resets the connections that wait in its queue, and their clients have sent
//! requests by then. So before that, it is told to drop what asks for a new connection (a filter in the
//! kernel, on Linux), and what is in the queue is accepted. A client that asks in this short time hears
//! nothing, asks again a second later, and is refused: it knows that it has sent nothing.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::time::{Instant, timeout_at};

/// Connections that wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;
/// Data that a peer does not confirm for this long ends its connection: it is gone without having said so.
pub const SILENCE: Duration = Duration::from_secs(30);
/// How long handshakes that have begun may take to end when listening stops: a round trip across a continent.
const HANDSHAKES: Duration = Duration::from_millis(100);
/// Between two tries to accept when that fails for a reason that passes.
const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket.
pub struct Listener {
    socket: tokio::net::TcpListener,
    address: SocketAddr,
    /// An open file to give up when there are no more: only then can a connection be accepted, to be closed.
    spare: Option<File>,
}

/// Binds an address. Listening begins here, accepting in [`Listener::new`].
///
/// # Errors
/// As the system says, with the address.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from(socket))
    };
    bound().map_err(|e: io::Error| io::Error::new(e.kind(), format!("{address} cannot be bound: {e}")))
}

impl Listener {
    /// Begins to accept; inside of a runtime.
    ///
    /// # Errors
    /// As the system says.
    pub fn new(socket: TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        Ok(Self { socket: tokio::net::TcpListener::from_std(socket)?, address, spare: spare() })
    }

    /// The next connection. Whatever fails is tried again: a server that stops to accept is down.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await.and_then(prepared) {
                Ok(connection) => return connection,
                // The peer was faster in going than we in accepting.
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, address = %self.address, "a connection cannot be accepted");
                    self.refuse();
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Accepts and closes what waits, so that it does not wait for ever when no more files can be opened.
    fn refuse(&mut self) {
        if self.spare.take().is_some() {
            while SockRef::from(&self.socket).accept().is_ok() {}
        }
        self.spare = spare();
    }

    /// Stops to listen: takes no new connections and gives those that have been made.
    pub async fn close(mut self, mut give: impl FnMut(TcpStream, SocketAddr)) {
        if let Err(error) = drop_new(&SockRef::from(&self.socket)) {
            tracing::debug!(%error, "new connections cannot be held off while the queue is emptied");
        }
        let deadline = Instant::now() + HANDSHAKES;
        while let Ok((stream, peer)) = timeout_at(deadline, self.accept()).await {
            give(stream, peer);
        }
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

fn is_of_the_peer(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | InvalidInput | NotConnected)
}

/// Sets a connection up, and lets go of it: it is served by another thread's runtime.
fn prepared((stream, peer): (tokio::net::TcpStream, SocketAddr)) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = stream.into_std()?;
    // Without it a small answer waits 40 ms for a confirmation.
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(&stream).set_tcp_user_timeout(Some(SILENCE))?;
    SockRef::from(&stream).set_keepalive(true)?;
    Ok((stream, peer))
}

/// Has the kernel drop every packet that asks for a new connection.
#[cfg(target_os = "linux")]
fn drop_new(socket: &SockRef<'_>) -> io::Result<()> {
    use socket2::SockFilter;
    // Classic BPF. A filter on a TCP socket sees the TCP header first; SYN is bit 1 of its byte 13.
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    socket.attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(JUMP_IF_SET, 0, 1, 0b10),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

#[cfg(not(target_os = "linux"))]
fn drop_new(_: &SockRef<'_>) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    fn listening() -> (Listener, SocketAddr) {
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = socket.local_addr().unwrap();
        (Listener::new(socket).unwrap(), address)
    }

    #[tokio::test]
    async fn who_waits_in_the_queue_when_listening_stops_is_accepted() {
        let (listener, address) = listening();
        let mut clients: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
        for client in &mut clients {
            client.write_all(b"x").unwrap();
        }
        let mut accepted = Vec::new();
        listener.close(|stream, _| accepted.push(stream)).await;
        assert_eq!(accepted.len(), 50);
        for mut stream in accepted {
            stream.set_nonblocking(false).unwrap();
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(b"y").unwrap();
        }
        for mut client in clients {
            client.read_exact(&mut [0]).unwrap();
        }
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn nobody_gets_into_the_queue_behind_the_last_look_at_it() {
        let (listener, address) = listening();
        drop_new(&SockRef::from(&listener.socket)).unwrap();
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(300)).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut, "the server is silent, so nothing can have been sent");
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let (_listener, address) = listening();
        let error = bind(address).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
