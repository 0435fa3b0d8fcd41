//! Pings: requests for a small page through a node.
//!
//! *conn* is the time from the dial to the first byte of an answer, so all handshakes of the node are in it. *rtt* is the
//! time of a second request on the same connection; by TLS, and where the target allows no second one, that of the first
//! without the dial. What closes without an answer, or answers with something else than HTTP, has not answered.

use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::super::codec::{Measured, Pinged};
use super::super::lab::Mounted;
use super::Pings;
use super::exchange::{Exchange, Progress, request};
use crate::cause::Fault;
use crate::observatory::Url;

/// After so many in a row that failed, none of which was answered, the others are taken for failed.
const HOPELESS: usize = 5;

/// Pings a node as often as the plan says; why the last one failed stands in `cause`, if none was answered.
pub async fn pings(node: &Mounted, plan: &Pings, measured: &mut Measured) {
    let count = usize::from(plan.count);
    measured.pings.clear();
    let mut cause = None;
    let mut answered = false;
    while measured.pings.len() < count && (answered || measured.pings.len() < HOPELESS) {
        let ping = match &plan.url {
            Ok(url) => ping(node, url, plan.limit).await,
            Err(why) => Err(why.clone()),
        };
        answered |= ping.is_ok();
        let ping = ping.map_err(|why| cause = Some(why)).ok();
        measured.pings.push(ping);
    }
    measured.pings.resize(count, None);
    measured.cause = cause.filter(|_| !answered);
}

async fn ping(node: &Mounted, url: &Url, limit: Duration) -> Result<Pinged, String> {
    let began = Instant::now();
    let deadline = (began + limit).into();
    let progress = Progress::default();
    let request = request(url, "keep-alive");
    let first = async {
        let mut exchange = Exchange::open(node, url, &progress).await?;
        let open = Instant::now();
        let answer = exchange.ask(&request).await?;
        Ok((exchange, open, answer))
    };
    let first = timeout_at(deadline, first).await;
    let (mut exchange, open, answer) = first.unwrap_or_else(|_| {
        let ms = limit.as_millis();
        Err(format!("timed out after {ms} ms: {}", progress.told()))
    })?;
    if node.has_fallback && answer.status == http::StatusCode::BAD_REQUEST && !url.is_https() {
        let code = Fault::FallbackAnswers.code();
        return Err(format!(
            "a web server answers in the place of the proxy: a wrong id or password? [{code}]"
        ));
    }
    let conn = answer.first_byte - began;
    let mut rtt = answer.first_byte - open;
    if !url.is_https() {
        let second = async {
            if !exchange.skip(&answer).await {
                return None;
            }
            let asked = Instant::now();
            let answer = exchange.ask(&request).await.ok()?;
            Some(answer.first_byte - asked)
        };
        if let Ok(Some(second)) = timeout_at(deadline, second).await {
            rtt = second;
        }
    }
    exchange.close();
    Ok(Pinged {
        rtt: millis(rtt),
        conn: millis(conn),
        status: answer.status.as_u16(),
    })
}

/// Rounded up: 0 is for the dead.
fn millis(time: Duration) -> u16 {
    let millis = time.as_micros().div_ceil(1000).max(1);
    u16::try_from(millis).unwrap_or(u16::MAX)
}
