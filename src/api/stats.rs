//! StatsService: counters, and how the process is.

use std::fs;

use regex::RegexBuilder;
use tokio::runtime::Handle;
use tonic::{Request, Response, Status, async_trait};

use super::Server;
use super::unknown;
use crate::stats::Counter;
use crate::wire::app::stats::command::stats_service_server::StatsService;
use crate::wire::app::stats::command::{
    GetStatsRequest, GetStatsResponse, QueryStatsRequest, QueryStatsResponse, Stat,
    SysStatsRequest, SysStatsResponse,
};

/// What a pattern of a stranger may take in memory once it is compiled.
const MAX_REGEX: usize = 1024 * 1024;

#[async_trait]
impl StatsService for Server {
    async fn get_stats(
        &self,
        request: Request<GetStatsRequest>,
    ) -> Result<Response<GetStatsResponse>, Status> {
        let GetStatsRequest { name, reset } = request.into_inner();
        let counter = self.dispatcher.stats.get(&name);
        let counter = counter.ok_or_else(|| unknown(format!("{name} not found.")))?;
        let stat = Some(stat(name, &counter, reset));
        Ok(Response::new(GetStatsResponse { stat }))
    }

    async fn query_stats(
        &self,
        request: Request<QueryStatsRequest>,
    ) -> Result<Response<QueryStatsResponse>, Status> {
        let request = request.into_inner();
        let reset = request.reset;
        let wanted = wanted(request)?;
        let found = self.dispatcher.stats.select(wanted);
        let stat = found
            .into_iter()
            .map(|(name, counter)| stat(name, &counter, reset));
        Ok(Response::new(QueryStatsResponse {
            stat: stat.collect(),
        }))
    }

    /// Rust has no garbage to collect; what Go calls goroutines are tasks here.
    async fn get_sys_stats(
        &self,
        _: Request<SysStatsRequest>,
    ) -> Result<Response<SysStatsResponse>, Status> {
        let [sys, resident] = memory();
        Ok(Response::new(SysStatsResponse {
            num_goroutine: Handle::current().metrics().num_alive_tasks() as u32,
            alloc: resident,
            total_alloc: resident,
            sys,
            uptime: self.since.elapsed().as_secs() as u32,
            ..SysStatsResponse::default()
        }))
    }
}

fn stat(name: String, counter: &Counter, reset: bool) -> Stat {
    let value = if reset { counter.take() } else { counter.get() };
    Stat { name, value }
}

/// Whether a counter's name is asked for: any of the patterns is part of it, or matches it. Without a
/// pattern, all are.
fn wanted(request: QueryStatsRequest) -> Result<impl Fn(&str) -> bool, Status> {
    let mut patterns = request.patterns;
    if !request.pattern.is_empty() {
        patterns.push(request.pattern);
    }
    let mut regexes = Vec::new();
    if request.regexp {
        for pattern in patterns.drain(..) {
            let regex = RegexBuilder::new(&pattern).size_limit(MAX_REGEX).build();
            regexes.push(regex.map_err(unknown)?);
        }
    }
    Ok(move |name: &str| {
        let none = patterns.is_empty() && regexes.is_empty();
        none || patterns.iter().any(|part| name.contains(part.as_str()))
            || regexes.iter().any(|regex| regex.is_match(name))
    })
}

/// Bytes of address space, and of memory that is really there.
fn memory() -> [u64; 2] {
    const PAGE: u64 = 4096;
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = text.split(' ').map(|n| n.parse().unwrap_or(0u64) * PAGE);
    [(); 2].map(|()| pages.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_asked_for_by_part_or_expression() {
        let is = |request: QueryStatsRequest, name: &str| wanted(request).unwrap()(name);
        let of = |pattern: &str, patterns: &[&str], regexp| QueryStatsRequest {
            pattern: pattern.to_owned(),
            patterns: patterns.iter().map(|p| (*p).to_owned()).collect(),
            regexp,
            reset: false,
        };
        let name = "user>>>a@b.c>>>traffic>>>uplink";
        assert!(is(of("", &[], false), name) && is(of("", &[], true), name));
        assert!(is(of("a@b", &[], false), name) && !is(of("a@c", &[], false), name));
        assert!(is(of("x", &["y", "uplink"], false), name));
        assert!(is(of("^user.*up", &[], true), name) && !is(of("^user.*up", &[], false), name));
        assert!(wanted(of("(", &[], true)).is_err());
        assert!(wanted(of("(a{1000}){1000}", &[], true)).is_err());
    }

    #[test]
    fn the_process_has_memory() {
        let [sys, resident] = memory();
        assert!(sys >= resident && resident > 0);
    }
}
