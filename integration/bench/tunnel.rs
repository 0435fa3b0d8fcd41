//! What a tunnel costs: a GiB through it, a new one, and how long it takes to answer.

use serde_json::json;

use super::configs::{Certificate, Protocol, Shape, Transport};
use super::figures::{Figures, Role, Row, Setting, What};
use super::load::Load;
use super::network::{Network, free_port};
use super::program::{Kind, Program};
use super::sink::Sink;
use super::{Result, Run};

/// CPU-s/GiB up and down, and CPU-ms per connection where it is asked for, of `program` as server and as
/// client.
pub(crate) async fn bulk(
    run: &Run,
    program: &Program,
    setting: Setting,
    figures: &mut Figures,
) -> Result<()> {
    if program.kind == Kind::Floor {
        return floor(run, program, setting, figures).await;
    }
    let shape = shape(setting)?;
    let other = match setting {
        Setting::V2ray => Program::v2ray_4_45()?,
        _ => run.other.clone(),
    };
    for role in [Role::Server, Role::Client] {
        let network = Network::start(program, role, &other, &shape).await?;
        let row = Row(setting, role, What::Bulk);
        gib(run, &network, row, program.name(), figures).await?;
        if !matches!(setting, Setting::Tls | Setting::ChaCha | Setting::V2ray) {
            connections(run, &network, setting, role, program.name(), figures).await?;
        }
    }
    Ok(())
}

/// What a GiB costs up, down, and in the mean, which is `row`.
pub(crate) async fn gib(
    run: &Run,
    network: &Network,
    row: Row,
    column: &'static str,
    figures: &mut Figures,
) -> Result<()> {
    let (Row(setting, role, _), load) = (row, network.load);
    // Once through without a look: caches and allocators get warm.
    load.connections(run.options.connections / 20).await?;
    load.upload(run.options.bulk / 8).await?;

    let len = match setting {
        // This takes many times longer.
        Setting::V2ray => run.options.bulk / 2,
        _ => run.options.bulk,
    };
    let cpu = || network.measured(role).cpu();
    let mut add = |what, value| figures.add(Row(setting, role, what), column, value);
    let gib = len as f64 / f64::from(1 << 30);
    let begin = cpu()?;
    load.upload(len).await?;
    let middle = cpu()?;
    load.download(len).await?;
    let end = cpu()?;
    add(What::Up, (middle - begin).as_secs_f64() / gib);
    add(What::Down, (end - middle).as_secs_f64() / gib);
    add(What::Bulk, (end - begin).as_secs_f64() / gib / 2.0);
    Ok(())
}

/// What a connection costs.
pub(crate) async fn connections(
    run: &Run,
    network: &Network,
    setting: Setting,
    role: Role,
    column: &'static str,
    figures: &mut Figures,
) -> Result<()> {
    let cpu = || network.measured(role).cpu();
    let count = run.options.connections;
    let begin = cpu()?;
    network.load.connections(count).await?;
    let each = (cpu()? - begin).as_secs_f64() / count as f64;
    figures.add(Row(setting, role, What::Connection), column, each * 1e3);
    Ok(())
}

/// The relay in the place of client and server together.
async fn floor(
    run: &Run,
    program: &Program,
    setting: Setting,
    figures: &mut Figures,
) -> Result<()> {
    let sink = Sink::start().await?;
    let port = free_port()?;
    let seals = setting != Setting::Vless;
    let relay = program
        .start(&json!([port, sink.port, seals]), port)
        .await?;
    let load = Load::direct(port);
    load.upload(run.options.bulk / 8).await?;
    let gib = run.options.bulk as f64 / f64::from(1 << 30);
    let begin = relay.cpu()?;
    load.upload(run.options.bulk).await?;
    let middle = relay.cpu()?;
    load.download(run.options.bulk).await?;
    let end = relay.cpu()?;
    for role in [Role::Server, Role::Client] {
        let mut add = |what, cpu: std::time::Duration| {
            let value = cpu.as_secs_f64() / gib;
            figures.add(Row(setting, role, what), program.name(), value);
        };
        add(What::Up, middle - begin);
        add(What::Down, end - middle);
        add(What::Bulk, (end - begin) / 2);
    }
    Ok(())
}

/// Ping-pong and first byte with `program` at both ends. The floor is two relays in their place, and what it
/// takes with nothing between is measured along with it.
pub(crate) async fn latency(run: &Run, program: &Program, figures: &mut Figures) -> Result<()> {
    if program.kind != Kind::Floor {
        let network = Network::start(program, Role::Both, program, &Shape::default()).await?;
        return answers(run, network.load, program.name(), figures).await;
    }
    let sink = Sink::start().await?;
    answers(run, Load::direct(sink.port), "direct", figures).await?;
    let (near, far) = (free_port()?, free_port()?);
    let _far = program.start(&json!([far, sink.port, true]), far).await?;
    let _near = program.start(&json!([near, far, true]), near).await?;
    answers(run, Load::direct(near), program.name(), figures).await
}

async fn answers(run: &Run, load: Load, column: &'static str, figures: &mut Figures) -> Result<()> {
    let mut add = |what, value: std::time::Duration| {
        let row = Row(Setting::Plain, Role::Both, what);
        figures.add(row, column, value.as_secs_f64() * 1e6);
    };
    load.connections(run.options.connections / 20).await?;
    load.ping_pong(run.options.pings / 5).await?;
    add(What::PingPong, load.ping_pong(run.options.pings).await?);
    let first_byte = load.first_byte(run.options.pings / 2).await?;
    add(What::FirstByte, first_byte);
    Ok(())
}

pub(crate) fn shape(setting: Setting) -> Result<Shape> {
    let plain = Shape::default();
    Ok(match setting {
        Setting::Plain | Setting::V2ray | Setting::Nodes => plain,
        Setting::Tls | Setting::Deployment | Setting::Tickets | Setting::NoTickets => Shape {
            tls: Some(Certificate::new()?),
            ..plain
        },
        Setting::ChaCha => Shape {
            cipher: "chacha20-poly1305",
            ..plain
        },
        Setting::Shadowsocks => Shape {
            protocol: Protocol::Shadowsocks,
            transport: Transport::Tcp,
            ..plain
        },
        Setting::VlessTcp => vless(Transport::Tcp),
        Setting::Vless => vless(Transport::Ws),
        Setting::VlessHttpUpgrade => vless(Transport::HttpUpgrade),
        Setting::VlessGrpc => vless(Transport::Grpc),
        Setting::VlessTls => Shape {
            tls: Some(Certificate::new()?),
            ..vless(Transport::Ws)
        },
        // Of GOST's carriers there are files of its own.
        Setting::RelayWs | Setting::RelayMws | Setting::RelayWss | Setting::RelayMwss => plain,
        Setting::TrojanTls => Shape {
            protocol: Protocol::Trojan,
            tls: Some(Certificate::new()?),
            ..plain
        },
    })
}

fn vless(transport: Transport) -> Shape {
    Shape {
        protocol: Protocol::Vless,
        transport,
        ..Shape::default()
    }
}
