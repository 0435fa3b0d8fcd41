//! What a server's carrier brings: one link, or links one after another.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::mpsc;

use crate::cause::RequestError;
use crate::seam::Arrival;
use crate::session::Source;

/// What came of a connection.
pub enum Accepted {
    /// It is a link itself. Of several inbounds on one place it is for this one; a single inbound is 0.
    One(usize, Arrival),
    /// It brings links until it ends.
    Many(Arrivals),
}

/// The links of one connection. The connection is driven by whoever waits for the next link, and ends with this.
pub struct Arrivals {
    /// `None` when it is over.
    driver: Option<Driver>,
    links: mpsc::Receiver<(usize, Arrival)>,
    fault: Option<Fault>,
    know: Option<Know>,
}

/// Says that somebody has logged in.
pub type Know = Arc<dyn Fn() + Send + Sync>;

/// Why a connection brings no links.
pub struct Fault {
    /// Which inbound it was for, as in [`Accepted::One`].
    pub route: usize,
    /// Who has come.
    pub source: Source,
    /// What is wrong.
    pub error: RequestError,
}

/// Reads what a connection brings, and sends each new link.
type Driver = Pin<Box<dyn Future<Output = Option<Fault>> + Send>>;

impl Arrivals {
    /// `driver` sends `links`.
    pub fn new(
        driver: impl Future<Output = ()> + Send + 'static,
        links: mpsc::Receiver<(usize, Arrival)>,
    ) -> Self {
        // A future that is awaited inside another one would take its room twice.
        let driver = Box::pin(driver);
        let driver = async move {
            driver.await;
            None
        };
        Self::told(driver, links)
    }

    /// The same, of a `driver` that says what was wrong.
    pub fn told(
        driver: impl Future<Output = Option<Fault>> + Send + 'static,
        links: mpsc::Receiver<(usize, Arrival)>,
    ) -> Self {
        Self {
            driver: Some(Box::pin(driver)),
            links,
            fault: None,
            know: None,
        }
    }

    /// Whoever comes has little until somebody has logged in, which `know` says to the driver.
    pub fn of_strangers(self, know: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            know: Some(Arc::new(know)),
            ..self
        }
    }

    /// What is to be called when somebody has logged in, if anybody wants to hear of it.
    pub fn know(&self) -> Option<Know> {
        self.know.clone()
    }

    /// What was wrong, once there is no other link.
    pub fn fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// The next link, and which inbound it is for, as in [`Accepted::One`]; `None` when the connection has ended. It must be asked for as long as links are to live.
    pub async fn next(&mut self) -> Option<(usize, Arrival)> {
        poll_fn(|cx| {
            if let Poll::Ready(Some(routed)) = self.links.poll_recv(cx) {
                return Poll::Ready(Some(routed));
            }
            if let Some(driver) = &mut self.driver
                && let Poll::Ready(fault) = driver.as_mut().poll(cx)
            {
                self.fault = fault;
                self.driver = None;
            }
            // What it sent before it was over.
            match self.links.poll_recv(cx) {
                Poll::Pending if self.driver.is_none() => Poll::Ready(None),
                other => other,
            }
        })
        .await
    }
}
