//! Counters, who is online, and how the process is.

use clap::Args;
use serde_json::{Value, json};
use tonic::Status;

use super::print::{pretty, stat_json, sys_json, sys_table, table};
use super::shown;
use crate::api::client::{Client, Query, STATS};
use crate::wire::app::stats::command::{GetStatsRequest, SysStatsRequest};
use crate::wire::xray::app::stats::command::{GetAllOnlineUsersRequest, GetUsersStatsRequest};

#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// Part of a counter's name
    patterns: Vec<String>,
    /// One more pattern, as Xray has it
    #[arg(long, value_name = "TEXT")]
    pattern: Option<String>,
    /// The counter of exactly this name, as JSON
    #[arg(long, value_name = "NAME", conflicts_with_all = ["patterns", "pattern", "regexp"])]
    name: Option<String>,
    /// The patterns are regular expressions (V2Ray 5 and mobula know them)
    #[arg(long)]
    regexp: bool,
    /// Let the counters begin at 0 again
    #[arg(long)]
    reset: bool,
    /// How the process itself is
    #[arg(long)]
    runtime: bool,
}

#[derive(Debug, Args)]
pub(super) struct Online {
    /// Whose addresses
    #[arg(long, required_unless_present = "all", conflicts_with = "all")]
    email: Option<String>,
    /// Those of all who are online
    #[arg(long)]
    all: bool,
    /// And what they have sent and received
    #[arg(long, requires = "all")]
    include_traffic: bool,
    /// Let these counters begin at 0 again
    #[arg(long, requires = "include_traffic")]
    reset: bool,
}

pub(super) async fn query(client: &Client, wanted: Wanted, json: bool) -> Result<String, Status> {
    let Wanted {
        mut patterns,
        pattern,
        name,
        regexp,
        reset,
        runtime,
    } = wanted;
    if runtime {
        return of_process(client, json).await;
    }
    if let Some(name) = name {
        let request = GetStatsRequest { name, reset };
        return shown(client, STATS, "GetStats", &request).await;
    }
    patterns.extend(pattern);
    let query = Query {
        patterns,
        regexp,
        reset,
    };
    let stats = client.query_stats(query).await?;
    let all: Vec<Value> = stats.iter().map(stat_json).collect();
    Ok(match json {
        // As Xray leaves out what is empty.
        true if all.is_empty() => pretty(&json!({})),
        true => pretty(&json!({"stat": all})),
        false => table(&stats),
    })
}

pub(super) async fn of_process(client: &Client, json: bool) -> Result<String, Status> {
    if json {
        return match client.sys_stats().await {
            Ok(sys) => Ok(pretty(&sys_json(&sys))),
            Err(_) => shown(client, STATS, "GetSysStats", &SysStatsRequest {}).await,
        };
    }
    client.sys_stats().await.map(|sys| sys_table(&sys))
}

pub(super) async fn online(client: &Client, email: &str) -> Result<String, Status> {
    shown(client, STATS, "GetStatsOnline", &online_of(email)).await
}

pub(super) async fn addresses(client: &Client, who: Online) -> Result<String, Status> {
    let Online {
        email,
        all: _,
        include_traffic,
        reset,
    } = who;
    match email {
        Some(email) => shown(client, STATS, "GetStatsOnlineIpList", &online_of(&email)).await,
        None => {
            let request = GetUsersStatsRequest {
                include_traffic,
                reset,
            };
            shown(client, STATS, "GetUsersStats", &request).await
        }
    }
}

pub(super) async fn all_online(client: &Client) -> Result<String, Status> {
    let request = GetAllOnlineUsersRequest {};
    shown(client, STATS, "GetAllOnlineUsers", &request).await
}

fn online_of(email: &str) -> GetStatsRequest {
    GetStatsRequest {
        name: format!("user>>>{email}>>>online"),
        reset: false,
    }
}
