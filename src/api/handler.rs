//! HandlerService: inbounds, outbounds and users that come and go while tunnels run.
//!
//! Where V2Ray has words for an error, they are the same here: panels look for them.

use tonic::{Request, Response, Status, async_trait};

use super::Server;
use super::unknown;
use crate::app;
use crate::dialect::messages::{self, MessageError};
use crate::dispatch::{Outbound, Outbounds};
use crate::protocol::AddedUser;
use crate::wire::app::proxyman::command::handler_service_server::HandlerService;
use crate::wire::app::proxyman::command::{
    AddInboundRequest, AddInboundResponse, AddOutboundRequest, AddOutboundResponse,
    AddUserOperation, AlterInboundRequest, AlterInboundResponse, AlterOutboundRequest,
    AlterOutboundResponse, RemoveInboundRequest, RemoveInboundResponse, RemoveOutboundRequest,
    RemoveOutboundResponse, RemoveUserOperation,
};
use crate::wire::typed;

#[async_trait]
impl HandlerService for Server {
    async fn add_inbound(
        &self,
        request: Request<AddInboundRequest>,
    ) -> Result<Response<AddInboundResponse>, Status> {
        let inbound = request.into_inner().inbound.unwrap_or_default();
        let tag = inbound.tag.clone();
        let inbound = messages::inbound(&inbound).map_err(status)?;
        let _changing = self.changing.lock().await;
        if self.inbounds.get(&tag).is_some() {
            return Err(tag_taken(&tag));
        }
        let inbound = app::Inbound::new(inbound).map_err(unknown)?;
        self.inbounds.add(inbound).map_err(unknown)?;
        Ok(Response::new(AddInboundResponse {}))
    }

    async fn remove_inbound(
        &self,
        request: Request<RemoveInboundRequest>,
    ) -> Result<Response<RemoveInboundResponse>, Status> {
        let tag = request.into_inner().tag;
        if self.inbounds.remove(&tag).await {
            Ok(Response::new(RemoveInboundResponse {}))
        } else {
            Err(no_clue())
        }
    }

    async fn alter_inbound(
        &self,
        request: Request<AlterInboundRequest>,
    ) -> Result<Response<AlterInboundResponse>, Status> {
        let AlterInboundRequest { tag, operation } = request.into_inner();
        let operation = operation.ok_or_else(|| unknown("unknown operation"))?;
        let add = match typed::name(&operation) {
            "app.proxyman.command.AddUserOperation" => true,
            "app.proxyman.command.RemoveUserOperation" => false,
            _ => return Err(unknown("not an inbound operation")),
        };
        let Some(inbound) = self.inbounds.get(&tag) else {
            let text = format!("failed to get handler: {tag} > handler not found: {tag}");
            return Err(unknown(text));
        };
        if add {
            let user = added_user(&typed::open(&operation).map_err(unreadable)?)?;
            inbound.protocol.add_user(user).map_err(unknown)?;
        } else {
            let RemoveUserOperation { email } = typed::open(&operation).map_err(unreadable)?;
            inbound.protocol.remove_user(&email).map_err(unknown)?;
        }
        Ok(Response::new(AlterInboundResponse {}))
    }

    async fn add_outbound(
        &self,
        request: Request<AddOutboundRequest>,
    ) -> Result<Response<AddOutboundResponse>, Status> {
        let outbound = request.into_inner().outbound.unwrap_or_default();
        let outbound = messages::outbound(&outbound).map_err(status)?;
        let outbound = app::outbound(outbound).map_err(unknown)?;
        let _changing = self.changing.lock().await;
        let outbounds = &self.dispatcher.outbounds;
        check_way(outbounds, &outbound)?;
        match outbounds.add(outbound) {
            Ok(()) => {
                self.dispatcher.warm_up();
                Ok(Response::new(AddOutboundResponse {}))
            }
            Err(outbound) => Err(tag_taken(outbound.tag.as_deref().unwrap_or_default())),
        }
    }

    async fn remove_outbound(
        &self,
        request: Request<RemoveOutboundRequest>,
    ) -> Result<Response<RemoveOutboundResponse>, Status> {
        let tag = request.into_inner().tag;
        if tag.is_empty() {
            return Err(no_clue());
        }
        // Like V2Ray, content when there is none.
        self.dispatcher.outbounds.remove(&tag);
        Ok(Response::new(RemoveOutboundResponse {}))
    }

    /// V2Ray has no operation for outbounds either.
    async fn alter_outbound(
        &self,
        _: Request<AlterOutboundRequest>,
    ) -> Result<Response<AlterOutboundResponse>, Status> {
        Err(unknown("not an outbound operation"))
    }
}

fn added_user(operation: &AddUserOperation) -> Result<AddedUser, Status> {
    let user = operation.user.as_ref();
    let user = user.ok_or_else(|| unknown("failed to parse user"))?;
    messages::user(user).map_err(status)
}

/// As V2Ray's service would say it, as far as there is a word for it.
fn status(error: MessageError) -> Status {
    match error {
        MessageError::Unreadable(e) => unreadable(e),
        MessageError::XraysForm => Status::unimplemented(error.to_string()),
        other => unknown(other),
    }
}

fn unreadable(error: typed::OpenError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// An outbound must not be reached through itself.
fn check_way(outbounds: &Outbounds, added: &Outbound) -> Result<(), Status> {
    let mut next = added.through.clone();
    while let Some(tag) = next {
        if Some(&tag) == added.tag.as_ref() {
            let text = format!("proxySettings.tag: `{tag}` goes round in a circle");
            return Err(unknown(text));
        }
        let Some(outbound) = outbounds.get(&tag) else {
            return Err(unknown(format!(
                "proxySettings.tag: no outbound is tagged `{tag}`"
            )));
        };
        next = outbound.through.clone();
    }
    Ok(())
}

fn tag_taken(tag: &str) -> Status {
    unknown(format!("existing tag found: {tag}"))
}

/// V2Ray's words for a tag that nobody has.
fn no_clue() -> Status {
    unknown("not enough information for making a decision")
}
