//! One page, whole.

use super::super::lab::Mounted;
use super::exchange::{Exchange, Progress, request};
use crate::http::gzip::{self, gunzip};
use crate::observatory::Url;

/// How many other places it may be at.
const MAX_REDIRECTS: usize = 5;

/// Reads a page of up to `max` bytes.
///
/// # Errors
///
/// When it does not come, or is larger; the text says why.
pub async fn page(node: &Mounted, url: &Url, max: usize) -> Result<Vec<u8>, String> {
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let mut exchange = Exchange::open(node, &url, &Progress::default()).await?;
        let answer = exchange.ask(&request(&url, "close")).await?;
        if let Some(other) = answer.leads_to(&url) {
            exchange.close();
            let other = other?;
            if url.is_https() && !other.is_https() {
                return Err(
                    "it leads from `https` to `http`, where everybody could read it".to_owned(),
                );
            }
            url = other;
            continue;
        }
        if !answer.status.is_success() {
            return Err(format!("it is answered with {}", answer.status.as_u16()));
        }
        let body = exchange.body(&answer, max).await?;
        // Some have it packed for everybody, asked or not.
        return match gzip::is_said(&answer.headers) {
            true => gunzip(&body, max),
            false => Ok(body),
        };
    }
    Err("it leads from one place to the next".to_owned())
}
