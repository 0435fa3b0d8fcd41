//! ObservatoryService: which outbounds answer, and how fast.

use std::time::Duration;

use tonic::Status;

use super::{Server, unknown};
use crate::routing::{Observation, Samples};
use crate::wire::app::observatory::command::{GetOutboundStatusRequest, GetOutboundStatusResponse};
use crate::wire::app::observatory::{
    HealthPingMeasurementResult, ObservationResult, OutboundStatus,
};

impl Server {
    pub(super) fn get_outbound_status(
        &self,
        request: GetOutboundStatusRequest,
    ) -> Result<GetOutboundStatusResponse, Status> {
        let tables = self.dispatcher.router.health();
        let table = match request.tag.as_str() {
            "" => tables.tables().next(),
            tag => tables.get(tag).cloned(),
        };
        let table = table.ok_or_else(|| unknown("there is no such observer"))?;
        let status = table.all().into_iter();
        let status = status.map(|(tag, seen)| status_of(tag.to_string(), seen));
        let status = Some(ObservationResult {
            status: status.collect(),
        });
        Ok(GetOutboundStatusResponse { status })
    }
}

fn status_of(outbound_tag: String, seen: Observation) -> OutboundStatus {
    OutboundStatus {
        alive: seen.alive,
        delay: seen.millis(),
        last_error_reason: seen.last_error,
        outbound_tag,
        last_seen_time: seen.last_seen,
        last_try_time: seen.last_try,
        health_ping: seen.samples.map(measured),
    }
}

/// Times are nanoseconds, as Go counts.
fn measured(samples: Samples) -> HealthPingMeasurementResult {
    let nanos = |time: Duration| time.as_nanos() as i64;
    HealthPingMeasurementResult {
        all: samples.all as i64,
        fail: samples.failed as i64,
        deviation: nanos(samples.deviation),
        average: nanos(samples.average),
        max: nanos(samples.max),
        min: nanos(samples.min),
    }
}
