//! Who is told of what came to a port and was no tunnel.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use tracing::debug;

use crate::cause::{RequestError, Unfit};
use crate::limits::{Full, Held};
use crate::session::Source;

/// Is told of refused requests that are not the last one of their connection: a proxy in front may send everybody's by
/// one. That of the last is how the visit ends. It knows, too, whether there is room for whom a proxy names.
#[derive(Clone, Default)]
pub struct Tell {
    whom: Option<Arc<dyn Fn(RequestError) + Send + Sync>>,
    admit: Option<Admit>,
}

/// Takes a place for one more from there.
type Admit = Arc<dyn Fn(Source) -> Result<Held, Full> + Send + Sync>;

impl Tell {
    /// Tells `whom`.
    pub fn new(whom: impl Fn(RequestError) + Send + Sync + 'static) -> Self {
        Self {
            whom: Some(Arc::new(whom)),
            admit: None,
        }
    }

    /// Asks, too, before anything is done for whom a request names as its source.
    #[must_use]
    pub fn admitting(
        self,
        admit: impl Fn(Source) -> Result<Held, Full> + Send + Sync + 'static,
    ) -> Self {
        Self {
            admit: Some(Arc::new(admit)),
            ..self
        }
    }

    /// Tells of one.
    pub fn tell(&self, refused: RequestError) {
        if let Some(whom) = &self.whom {
            whom(refused);
        }
    }

    /// A place for a request of `client`, where the connection itself has none because a proxy may have brought it.
    ///
    /// # Errors
    ///
    /// When enough come from there.
    pub fn admit(&self, client: Source) -> Result<Option<Held>, RequestError> {
        let place = self.admit.as_ref().map(|admit| admit(client)).transpose();
        place.map_err(|full| RequestError::Full { full, client })
    }
}

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
}

/// Does `work`, and tells what there is to tell whenever that waits for something else: nobody shall find a place of ours by
/// how long the telling takes.
pub(crate) async fn telling_later<W: Future>(work: W, mut tell: impl FnMut()) -> W::Output {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let done = work.as_mut().poll(cx);
        tell();
        done
    })
    .await
}

/// Most requests for a site are meant for it. One for the tunnel's own place is a mistake, or somebody who looks for it.
pub(crate) fn tell_of_passed(tell: &Tell, passed: RequestError) {
    debug!("{passed}");
    if let RequestError::ToSite { unfit, .. } = &passed
        && !matches!(
            unfit,
            Unfit::Path(_) | Unfit::OtherHost(_) | Unfit::NotGrpc | Unfit::Plain
        )
    {
        tell.tell(passed);
    }
}

/// A path as the log has it: early data in it may be long, and says nothing.
pub(crate) fn shown(path: &str) -> String {
    let mut shown: String = path.escape_debug().take(SHOWN).collect();
    if path.len() > SHOWN {
        shown.push('…');
    }
    shown
}

/// As much of a path as is shown.
const SHOWN: usize = 200;
