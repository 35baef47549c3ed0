// SPDX-License-Identifier: Apache-2.0
//! A thread that serves connections: each is a task of its own, and a round now and then tells those that
//! are slow, idle or stuck what becomes of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Request, Response};
use actix_service::{Service as _, ServiceFactory as _, fn_service};
use bytes::BytesMut;
use futures_util::future::LocalBoxFuture;
use jobbie_actors::ports::forbid_blocking;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::conn::{CLOSE_TIME, Clock, Conn, Order};
use super::io::{Io, Wire};
use super::service::{self, Body};
use super::{Phase, h2};
use crate::call::Web;
use crate::routes::Row;
use crate::shares::Share;

/// How often connections are looked at: how exact their times are.
const ROUND: Duration = Duration::from_secs(1);
/// The same while the server stops, when somebody waits for the end.
const LAST_ROUNDS: Duration = Duration::from_millis(50);

/// A connection on its way to a thread.
pub struct Accepted {
    /// The socket.
    pub stream: TcpStream,
    /// The other end.
    pub peer: SocketAddr,
    /// Its number.
    pub id: u64,
    /// Its place among the connections that there may be.
    pub place: Share,
    /// One of so many on this thread.
    pub load: Load,
}

/// Counts one connection of a thread.
pub struct Load(Arc<AtomicUsize>);

impl Load {
    /// One more.
    #[must_use]
    pub fn one(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a thread serves.
#[derive(Clone)]
pub struct Served {
    /// The application.
    pub web: Arc<Web>,
    /// Its routes.
    pub rows: Arc<[Row]>,
    /// How to encrypt, if so.
    pub tls: Option<TlsAcceptor>,
    /// What the whole server is doing.
    pub phase: watch::Receiver<Phase>,
}

type ServeHttp1 = Rc<dyn Fn(Io) -> LocalBoxFuture<'static, ()>>;
type Connections = Rc<RefCell<HashMap<u64, Rc<Conn>>>>;

/// Serves what comes until the server is over, or no more comes and the last connection is closed.
///
/// # Errors
/// If the thread's runtime or the application cannot be made.
pub fn run(served: Served, mut incoming: mpsc::UnboundedReceiver<Accepted>) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        forbid_blocking("http");
        let app = service::build(&served.web, &served.rows).await;
        let app = Rc::new(app.map_err(|()| std::io::Error::other("the application cannot be built"))?);
        let stopping = served.web.ports.stopping();
        let web = served.web.clone();
        let answer =
            move |request: Request| service::answer(app.clone(), web.clone(), stopping.clone(), request);
        let http1 = http1(answer.clone()).await?;
        let clock = Rc::new(Clock::default());
        let connections = Connections::default();
        let mut phase = served.phase.clone();
        tokio::task::spawn_local(rounds(clock.clone(), connections.clone(), phase.clone()));
        let mut over = pin!(phase.wait_for(|phase| *phase == Phase::Over));
        let emptied = tokio::sync::Notify::new();
        let emptied = Rc::new(emptied);
        loop {
            let accepted = tokio::select! {
                accepted = incoming.recv() => accepted,
                _ = &mut over => return Ok(()),
            };
            let Some(accepted) = accepted else { break };
            let Accepted { stream, peer, id, place, load } = accepted;
            let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { continue };
            let conn = Conn::new(id, peer, served.tls.is_some(), clock.clone());
            let listed = Listed::new(&connections, &emptied, &conn);
            let (tls, http1, answer) = (served.tls.clone(), http1.clone(), answer.clone());
            tokio::task::spawn_local(async move {
                let _held = (listed, place, load);
                until_dropped(&conn, connection(stream, conn.clone(), tls, http1, answer)).await;
            });
        }
        while !connections.borrow().is_empty() {
            tokio::select! {
                () = emptied.notified() => {}
                _ = &mut over => return Ok(()),
            }
        }
        Ok(())
    })
}

/// The entry of a connection in its thread's list.
struct Listed {
    connections: Connections,
    emptied: Rc<tokio::sync::Notify>,
    id: u64,
}

impl Listed {
    fn new(connections: &Connections, emptied: &Rc<tokio::sync::Notify>, conn: &Rc<Conn>) -> Self {
        connections.borrow_mut().insert(conn.id, conn.clone());
        Self { connections: connections.clone(), emptied: emptied.clone(), id: conn.id }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut connections = self.connections.borrow_mut();
        connections.remove(&self.id);
        if connections.is_empty() {
            self.emptied.notify_one();
        }
    }
}

/// Looks at all connections again and again.
async fn rounds(clock: Rc<Clock>, connections: Connections, mut phase: watch::Receiver<Phase>) {
    let began = Instant::now();
    loop {
        if clock.stopping.get().is_some() {
            tokio::time::sleep(LAST_ROUNDS).await;
        } else {
            // An error means that the server is gone, and this thread with it.
            let _ = tokio::time::timeout(ROUND, phase.changed()).await;
        }
        clock.now.set(began.elapsed());
        if *phase.borrow() != Phase::Serving && clock.stopping.get().is_none() {
            clock.stopping.set(Some(clock.now.get()));
            connections.borrow().values().for_each(|conn| conn.wake());
        }
        connections.borrow().values().for_each(|conn| conn.look());
    }
}

/// Runs a connection until it ends or is to be cut.
async fn until_dropped(conn: &Conn, serving: impl Future<Output = ()>) {
    let mut serving = pin!(serving);
    poll_fn(|cx| {
        conn.keep_waker(cx.waker());
        if conn.order() == Order::Drop { Poll::Ready(()) } else { serving.as_mut().poll(cx) }
    })
    .await;
}

async fn connection<F, A>(
    stream: tokio::net::TcpStream,
    conn: Rc<Conn>,
    tls: Option<TlsAcceptor>,
    http1: ServeHttp1,
    answer: F,
) where
    F: Fn(Request) -> A + Clone + 'static,
    A: Future<Output = Response<Body>> + 'static,
{
    let (wire, is_http2) = match tls {
        None => (Wire::Plain(stream), None),
        Some(tls) => {
            let Some(Ok(stream)) = unless_closed(&conn, tls.accept(stream)).await else { return };
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            (Wire::Tls(Box::new(stream)), Some(is_http2))
        }
    };
    let mut io = Io::new(wire, conn);
    let is_http2 = match is_http2 {
        Some(known) => known,
        None => match sniff(&mut io).await {
            Some(found) => found,
            None => {
                // It has said nothing, or not enough in time.
                let _ = io.shutdown().await;
                return;
            }
        },
    };
    if is_http2 { h2::serve(io, answer).await } else { http1(io).await }
}

/// The outcome, unless the connection is to end before there is one.
async fn unless_closed<T>(conn: &Conn, doing: impl Future<Output = T>) -> Option<T> {
    let mut doing = pin!(doing);
    poll_fn(|cx| match conn.order() {
        Order::Go => doing.as_mut().poll(cx).map(Some),
        _ => Poll::Ready(None),
    })
    .await
}

/// Whether it is HTTP/2 that a plain connection begins with, which is known after the first bytes.
async fn sniff(io: &mut Io) -> Option<bool> {
    let mut begin = BytesMut::with_capacity(4 * 1024);
    loop {
        if io.read_buf(&mut begin).await.ok()? == 0 {
            return None;
        }
        if let Some(is_http2) = h2::begins(&begin) {
            io.put_back(begin.freeze());
            return Some(is_http2);
        }
    }
}

/// Serves HTTP/1 on a connection. Times are [`Conn`]'s, so none are set here.
async fn http1<F, A>(answer: F) -> std::io::Result<ServeHttp1>
where
    F: Fn(Request) -> A + Clone + 'static,
    A: Future<Output = Response<Body>> + 'static,
{
    let service = fn_service(move |request| {
        let answering = answer(request);
        async move { Ok::<_, Response<actix_http::body::BoxBody>>(answering.await) }
    });
    let factory = HttpService::build()
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(CLOSE_TIME)
        // A worker that hangs up in the middle of a stream is gone at once, and so are its undelivered jobs.
        .h1_allow_half_closed(false)
        .on_connect_ext(|io: &Io, data| {
            data.insert(io.conn.clone());
        })
        .h1(service);
    let service = factory.new_service(()).await;
    let service = Rc::new(service.map_err(|()| std::io::Error::other("the HTTP/1 service cannot be built"))?);
    Ok(Rc::new(move |io: Io| {
        let peer = io.conn.peer;
        let serving = service.call((io, Some(peer)));
        Box::pin(async move {
            if let Err(error) = serving.await {
                tracing::debug!(%peer, %error, "a connection ended");
            }
        })
    }))
}
