//! What `relay` costs over GOST's four WebSocket carriers, beside GOST in the same role.
//!
//! ```text
//! generator ──▶ client ──▶ server ──▶ sink        one of them measured, GOST the other one
//! ```
//!
//! `GOST` names the program. Without it mobula is at both ends, beside the figures that were published of GOST.

use super::configs::Certificate;
use super::configs::gost::Carrier;
use super::figures::{Figures, Role, Row, Setting, What};
use super::network::Network;
use super::program::{Kind, Program};
use super::{Result, Run, idle, tunnel};

/// Where GOST's figures stand when it is measured along, and when it is not.
pub(crate) const COLUMN: &str = "gost";
pub(crate) const PUBLISHED: &str = "gost, published";

/// mobula with mobula at the other end, where others have GOST there.
pub(crate) const TWICE: &str = "mobula twice";

/// GOST's names of what carries `relay`.
const CARRIERS: [(Setting, &str); 4] = [
    (Setting::RelayWs, "ws"),
    (Setting::RelayMws, "mws"),
    (Setting::RelayWss, "wss"),
    (Setting::RelayMwss, "mwss"),
];

/// Of GOST 3.3.0 at both ends, two cores of an AMD EPYC: server and client.
const KIB: f64 = 1024.0;
const PUBLISHED_WS: [(What, f64, f64); 4] = [
    (What::Down, 1.26, 5.28),
    (What::Up, 6.00, 2.21),
    (What::Connection, 0.71, 0.65),
    (What::Idle(0), 62.0 * KIB, 68.0 * KIB),
];

/// The GiB, the connection and the idle tunnel of `program`, over each carrier and in each role.
pub(crate) async fn measure(run: &Run, program: &Program, figures: &mut Figures) -> Result<()> {
    let gost = run.programs.iter().find(|p| p.kind == Kind::Gost);
    let mobula = &run.programs[0];
    let certificate = Certificate::new()?;
    for (setting, name) in CARRIERS {
        let tls = name.ends_with("ss").then_some(&*certificate);
        let carrier = Carrier { name, tls };
        let other = gost.unwrap_or(mobula);
        of(run, program, other, &carrier, setting, figures).await?;
        if gost.is_some() && program.name() == mobula.name() {
            let twice = program.called(TWICE);
            of(run, &twice, mobula, &carrier, setting, figures).await?;
        }
    }
    if gost.is_none() && program.name() == mobula.name() {
        published(run, figures)?;
    }
    Ok(())
}

async fn of(
    run: &Run,
    program: &Program,
    other: &Program,
    carrier: &Carrier<'_>,
    setting: Setting,
    figures: &mut Figures,
) -> Result<()> {
    for role in [Role::Server, Role::Client] {
        let start = async || match role {
            Role::Client => network(program, other, carrier).await,
            _ => network(other, program, carrier).await,
        };
        let running = start().await?;
        let column = program.name();
        tunnel::gib(
            run,
            &running,
            Row(setting, role, What::Bulk),
            column,
            figures,
        )
        .await?;
        tunnel::connections(run, &running, setting, role, column, figures).await?;
        drop(running);

        // What a burst leaves behind is another question.
        let running = start().await?;
        let count = run.options.tunnels.min(idle::most_tunnels()?);
        let each = idle::of_one(run, &running, role, count).await?;
        figures.add(Row(setting, role, What::Idle(count)), column, each);
    }
    Ok(())
}

async fn network(client: &Program, server: &Program, carrier: &Carrier<'_>) -> Result<Network> {
    let server_config = |port| carrier.server(port);
    let client_config = |socks, port| carrier.client(socks, port);
    Network::configured(client, client_config, server, server_config).await
}

fn published(run: &Run, figures: &mut Figures) -> Result<()> {
    let count = run.options.tunnels.min(idle::most_tunnels()?);
    for (what, server, client) in PUBLISHED_WS {
        let what = match what {
            What::Idle(_) => What::Idle(count),
            what => what,
        };
        for (role, value) in [(Role::Server, server), (Role::Client, client)] {
            figures.add(Row(Setting::RelayWs, role, what), PUBLISHED, value);
        }
    }
    Ok(())
}
