//! Rules and balancers.

use std::fmt::Write;

use clap::Args;
use prost::Message;
use serde_json::json;
use tonic::Status;

use super::print::pretty;
use super::shown;
use crate::api::client::{Client, ROUTING};
use crate::dialect::v2ray::{Input, part};
use crate::wire::app::router::command::OverrideBalancerTargetRequest;
use crate::wire::typed::seal_xray;
use crate::wire::xray::app::router;
use crate::wire::xray::app::router::command::{AddRuleRequest, ListRuleRequest, RemoveRuleRequest};

#[derive(Debug, Args)]
pub(super) struct Override {
    /// The balancer's tag
    #[arg(short, long, value_name = "TAG")]
    balancer: String,
    /// The outbound's tag
    #[arg(required_unless_present = "remove")]
    outbound: Option<String>,
    /// Give the balancer its choice back
    #[arg(short, long)]
    remove: bool,
}

#[derive(Debug, Args)]
pub(super) struct Block {
    /// Addresses and networks
    #[arg(required = true)]
    sources: Vec<String>,
    /// The tag of the outbound that their sessions go to
    #[arg(long, value_name = "TAG")]
    outbound: String,
    /// Only sessions of this inbound
    #[arg(long, value_name = "TAG", default_value = "")]
    inbound: String,
    /// The rule's `ruleTag`
    #[arg(long, value_name = "TAG", default_value = "sourceIpBlock")]
    ruletag: String,
    /// Take the rule of this tag away first
    #[arg(long)]
    reset: bool,
}

/// Each as an answer of its own, as Xray prints them.
pub(super) async fn add(
    client: &Client,
    rules: &[router::Config],
    append: bool,
) -> Result<String, Status> {
    let mut text = String::new();
    for config in rules {
        let request = AddRuleRequest {
            config: Some(seal_xray("app.router.Config", config)),
            should_append: append,
        };
        let answer = shown(client, ROUTING, "AddRule", &request).await?;
        let _ = writeln!(text, "{answer}");
    }
    Ok(text)
}

pub(super) async fn remove(client: &Client, tags: Vec<String>) -> Result<String, Status> {
    let mut text = String::new();
    for rule_tag in tags {
        let request = RemoveRuleRequest { rule_tag };
        let answer = shown(client, ROUTING, "RemoveRule", &request).await?;
        let _ = writeln!(text, "{answer}");
    }
    Ok(text)
}

pub(super) async fn list(client: &Client) -> Result<String, Status> {
    shown(client, ROUTING, "ListRule", &ListRuleRequest {}).await
}

pub(super) async fn balancers(
    client: &Client,
    tags: Vec<String>,
    json: bool,
) -> Result<String, Status> {
    let several = tags.len() > 1;
    let mut text = String::new();
    for tag in tags {
        let (balancer, shown) = client.balancer(&tag).await?;
        if json {
            let _ = writeln!(text, "{}", pretty(&shown));
            continue;
        }
        if several {
            let _ = writeln!(text, "{tag}");
        }
        if let Some(said) = balancer.r#override.filter(|said| !said.target.is_empty()) {
            text.push_str("  - Selecting Override:\n");
            row(&mut text, 1, &said.target);
        }
        text.push_str("  - Selects:\n");
        let chosen = balancer.principle_target.unwrap_or_default();
        for (i, tag) in chosen.tag.iter().enumerate() {
            row(&mut text, i + 1, tag);
        }
    }
    Ok(text)
}

/// As V2Ray and Xray have their columns.
fn row(text: &mut String, number: usize, tag: &str) {
    let _ = writeln!(text, "    {number:<4}{tag:<14}");
}

pub(super) async fn override_balancer(client: &Client, said: Override) -> Result<String, Status> {
    let Override {
        balancer,
        outbound,
        remove,
    } = said;
    let request = OverrideBalancerTargetRequest {
        balancer_tag: balancer,
        target: outbound.filter(|_| !remove).unwrap_or_default(),
    };
    let request = |_| Ok(request.encode_to_vec());
    let asked = client.show(ROUTING, "OverrideBalancerTarget", request);
    asked.await.map(|_| String::new())
}

pub(super) async fn block(client: &Client, block: Block) -> Result<String, Status> {
    let Block {
        sources,
        outbound,
        inbound,
        ruletag,
        reset,
    } = block;
    let inbounds: Vec<String> = [inbound]
        .into_iter()
        .filter(|tag| !tag.is_empty())
        .collect();
    let rule = json!({
        "ruleTag": ruletag, "inboundTag": inbounds, "outboundTag": outbound, "source": sources,
    });
    let input = Input::Text {
        name: "the rule".to_owned(),
        text: json!({"routing": {"rules": [rule]}}).to_string(),
    };
    let read = part::rules(&input).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Status::failed_precondition(lines.join("\n"))
    });
    let (config, _) = read?;
    let mut text = String::new();
    if reset {
        text = remove(client, vec![ruletag]).await?;
    }
    text.push_str(&add(client, &[config], true).await?);
    Ok(text)
}
