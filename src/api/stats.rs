//! StatsService: counters, who is online, and how the process is.

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;

use regex::RegexBuilder;
use tokio::runtime::Handle;
use tonic::Status;

use super::{Family, Server, unknown};
use crate::stats::{Counter, Online};
use crate::wire::app::stats::command::{
    GetStatsRequest, GetStatsResponse, QueryStatsRequest, QueryStatsResponse, Stat,
    SysStatsRequest, SysStatsResponse,
};
use crate::wire::xray::app::stats::command::{
    GetAllOnlineUsersRequest, GetAllOnlineUsersResponse, GetStatsOnlineIpListResponse,
    GetUsersStatsRequest, GetUsersStatsResponse, OnlineIpEntry, TrafficUserStat, UserStat,
};

/// What a pattern of a stranger may take in memory once it is compiled.
const MAX_REGEX: usize = 1024 * 1024;

impl Server {
    pub(super) fn get_stats(
        &self,
        request: GetStatsRequest,
        family: Family,
    ) -> Result<GetStatsResponse, Status> {
        let GetStatsRequest { name, reset } = request;
        let counter = self.dispatcher.stats.get(&name);
        let counter = counter.ok_or_else(|| missing(&name, family))?;
        let stat = Some(stat(name, &counter, reset));
        Ok(GetStatsResponse { stat })
    }

    pub(super) fn query_stats(
        &self,
        request: QueryStatsRequest,
    ) -> Result<QueryStatsResponse, Status> {
        let reset = request.reset;
        let wanted = wanted(request)?;
        let found = self.dispatcher.stats.select(wanted);
        let stat = found
            .into_iter()
            .map(|(name, counter)| stat(name, &counter, reset));
        Ok(QueryStatsResponse {
            stat: stat.collect(),
        })
    }

    /// Rust has no garbage to collect; what Go calls goroutines are tasks here.
    pub(super) fn get_sys_stats(&self, _: SysStatsRequest) -> Result<SysStatsResponse, Status> {
        let [sys, resident] = memory();
        Ok(SysStatsResponse {
            num_goroutine: Handle::current().metrics().num_alive_tasks() as u32,
            alloc: resident,
            total_alloc: resident,
            sys,
            uptime: self.since.elapsed().as_secs() as u32,
            ..SysStatsResponse::default()
        })
    }

    /// From how many addresses a user's sessions come.
    pub(super) fn get_stats_online(
        &self,
        request: GetStatsRequest,
        family: Family,
    ) -> Result<GetStatsResponse, Status> {
        let online = self.online(&request.name, family)?;
        let stat = Some(Stat {
            name: request.name,
            value: online.count() as i64,
        });
        Ok(GetStatsResponse { stat })
    }

    pub(super) fn get_stats_online_ip_list(
        &self,
        request: GetStatsRequest,
        family: Family,
    ) -> Result<GetStatsOnlineIpListResponse, Status> {
        let online = self.online(&request.name, family)?;
        let ips = online.addresses().into_iter();
        Ok(GetStatsOnlineIpListResponse {
            name: request.name,
            ips: ips.map(|(ip, last)| (shown(ip), last)).collect(),
        })
    }

    pub(super) fn get_all_online_users(
        &self,
        _: GetAllOnlineUsersRequest,
    ) -> Result<GetAllOnlineUsersResponse, Status> {
        let all = self.dispatcher.stats.all_online().into_iter();
        let users = all.map(|(name, _)| name).collect();
        Ok(GetAllOnlineUsersResponse { users })
    }

    /// All users who are online, with their addresses and by choice their counters.
    pub(super) fn get_users_stats(
        &self,
        request: GetUsersStatsRequest,
    ) -> Result<GetUsersStatsResponse, Status> {
        let stats = &self.dispatcher.stats;
        let value = |email: &str, direction: &str| {
            let counter = stats.get(&format!("user>>>{email}>>>traffic>>>{direction}"));
            counter.map_or(0, |counter| read(&counter, request.reset))
        };
        let all = stats.all_online().into_iter().filter_map(|(name, online)| {
            let email = name.strip_prefix("user>>>")?.strip_suffix(">>>online")?;
            let ips = online.addresses().into_iter();
            let ips = ips.map(|(ip, last_seen)| OnlineIpEntry {
                ip: shown(ip),
                last_seen,
            });
            Some(UserStat {
                email: email.to_owned(),
                ips: ips.collect(),
                traffic: request.include_traffic.then(|| TrafficUserStat {
                    uplink: value(email, "uplink"),
                    downlink: value(email, "downlink"),
                }),
            })
        });
        Ok(GetUsersStatsResponse {
            users: all.collect(),
        })
    }

    fn online(&self, name: &str, family: Family) -> Result<Arc<Online>, Status> {
        let online = self.dispatcher.stats.get_online(name);
        online.ok_or_else(|| missing(name, family))
    }
}

/// Xray has a code for it, V2Ray none.
fn missing(name: &str, family: Family) -> Status {
    let text = format!("{name} not found.");
    match family {
        Family::V2ray => unknown(text),
        Family::Xray => Status::not_found(text),
    }
}

/// As Xray writes an address.
fn shown(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn read(counter: &Counter, reset: bool) -> i64 {
    if reset { counter.take() } else { counter.get() }
}

fn stat(name: String, counter: &Counter, reset: bool) -> Stat {
    let value = read(counter, reset);
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
