//! The listener: an accept loop with limits, and the drain that ends it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tidegate_core::waits::ACCEPT_PAUSE;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, info, warn};

use crate::app::App;
use crate::{handler, jobs, prober};

/// Serves `listener` until it is told to stop, then drains: no new connection, idle ones closed, requests in flight
/// finished within `server.drain`, unless it is told again. Says whether all of them were: the others are cut off, and
/// settled, by the time it returns.
pub(crate) async fn run(listener: TcpListener, app: Arc<App>, mut told_to_stop: impl AsyncFnMut()) -> bool {
    let limits = &app.config.server;
    let connections =
        Arc::new(Semaphore::new(usize::try_from(limits.connections_max).unwrap_or(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    // Dropped when connections are to be cut off.
    let (go_on, cut_off) = watch::channel(());
    let probing = tokio::spawn(prober::run(Arc::clone(&app)));
    let running_jobs = tokio::spawn(jobs::run(Arc::clone(&app)));
    let mut shutdown = Box::pin(told_to_stop());
    loop {
        // Over the limit nothing is accepted: the kernel's backlog holds those who wait, at no cost here.
        let permit = tokio::select! {
            permit = Arc::clone(&connections).acquire_owned() => permit.expect("the semaphore is never closed"),
            () = &mut shutdown => break,
        };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => serve_connection(&app, &graceful, stream, peer, (permit, cut_off.clone())),
                Err(error) => pause_after(&error).await,
            },
            () = &mut shutdown => break,
        }
    }
    drop((listener, shutdown));
    app.with_gateway(tidegate_core::gateway::Gateway::drain);
    info!("draining: {} connections, for {} at most", graceful.count(), limits.drain);
    let is_drained = tokio::select! {
        () = graceful.shutdown() => true,
        () = tokio::time::sleep(Duration::from_millis(limits.drain.0)) => {
            warn!("the drain time is over: requests still in flight are cut off");
            false
        }
        () = told_to_stop() => {
            warn!("told again: requests still in flight are cut off");
            false
        }
    };
    drop((go_on, cut_off));
    for task in [probing, running_jobs] {
        task.abort();
        // It is gone, then; that it was aborted is no news.
        let _ = task.await;
    }
    // Each connection holds a permit until it is gone.
    drop(connections.acquire_many(limits.connections_max).await);
    if let Some(jobs) = &app.jobs {
        jobs.settled().await;
    }
    is_drained
}

fn serve_connection(
    app: &Arc<App>,
    graceful: &GracefulShutdown,
    stream: TcpStream,
    peer: SocketAddr,
    (permit, mut cut_off): (OwnedSemaphorePermit, watch::Receiver<()>),
) {
    // Without it the first byte of a stream can wait 40 ms for an acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        debug!("{peer}: {error}");
    }
    let limits = &app.config.server;
    let mut stream = TimeoutStream::new(stream);
    // A client that takes nothing in any more must not hold a connection, and with it a vendor's answer, for ever.
    stream.set_write_timeout(Some(Duration::from_millis(limits.client_stall.0)));
    let service = {
        let app = Arc::clone(app);
        service_fn(move |request| handler::handle(Arc::clone(&app), peer, request))
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.request_head.0))
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        tokio::select! {
            served = connection => served.unwrap_or_else(|error| debug!("{peer}: {error}")),
            // Nothing is ever sent: its end is what is waited for.
            _ = cut_off.changed() => {}
        }
        drop(permit);
    });
}

/// Tells of it, and lets the listener rest.
async fn pause_after(error: &std::io::Error) {
    warn!("cannot accept a connection: {error}");
    tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE.0)).await;
}
