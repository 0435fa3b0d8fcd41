//! HandlerService: inbounds, outbounds and users that come and go while tunnels run.
//!
//! Where V2Ray has words for an error, they are the same here: panels look for them.

use std::sync::Arc;

use tonic::Status;

use super::{Server, unknown};
use crate::app;
use crate::dialect::messages::{self, Keys, MessageError};
use crate::dispatch::{Outbound, Outbounds};
use crate::protocol::AnyUser;
use crate::wire::InboundHandlerConfig;
use crate::wire::app::proxyman::command::{
    AddInboundRequest, AddInboundResponse, AddOutboundRequest, AddOutboundResponse,
    AddUserOperation, AlterInboundRequest, AlterInboundResponse, AlterOutboundRequest,
    AlterOutboundResponse, RemoveInboundRequest, RemoveInboundResponse, RemoveOutboundRequest,
    RemoveOutboundResponse, RemoveUserOperation,
};
use crate::wire::common::protocol::User;
use crate::wire::typed;
use crate::wire::xray::app::proxyman::command::{
    GetInboundUserRequest, GetInboundUserResponse, GetInboundUsersCountResponse,
    ListInboundsRequest, ListInboundsResponse, ListOutboundsRequest, ListOutboundsResponse,
};

impl Server {
    pub(super) async fn add_inbound(
        &self,
        request: AddInboundRequest,
    ) -> Result<AddInboundResponse, Status> {
        let inbound = request.inbound.unwrap_or_default();
        let tag = inbound.tag.clone();
        let inbound = messages::inbound(&inbound).map_err(status)?;
        let _changing = self.changing.lock().await;
        if self.inbounds.get(&tag).is_some() {
            return Err(tag_taken(&tag));
        }
        let inbound = app::Inbound::new(inbound).map_err(unknown)?;
        self.inbounds.add(inbound).map_err(unknown)?;
        Ok(AddInboundResponse {})
    }

    pub(super) async fn remove_inbound(
        &self,
        request: RemoveInboundRequest,
    ) -> Result<RemoveInboundResponse, Status> {
        let _changing = self.changing.lock().await;
        if self.inbounds.remove(&request.tag).await {
            Ok(RemoveInboundResponse {})
        } else {
            Err(no_clue())
        }
    }

    pub(super) async fn alter_inbound(
        &self,
        request: AlterInboundRequest,
    ) -> Result<AlterInboundResponse, Status> {
        let AlterInboundRequest { tag, operation } = request;
        let operation = operation.ok_or_else(|| unknown("unknown operation"))?;
        let add = match typed::name(&operation) {
            "app.proxyman.command.AddUserOperation" => true,
            "app.proxyman.command.RemoveUserOperation" => false,
            _ => return Err(unknown("not an inbound operation")),
        };
        let _changing = self.changing.lock().await;
        let inbound = self.find_inbound(&tag)?;
        if add {
            let user = added_user(&typed::open(&operation).map_err(unreadable)?)?;
            inbound.protocol.add_user(user).map_err(unknown)?;
        } else {
            let RemoveUserOperation { email } = typed::open(&operation).map_err(unreadable)?;
            inbound.protocol.remove_user(&email).map_err(unknown)?;
        }
        Ok(AlterInboundResponse {})
    }

    /// In Xray's form, with the users of this moment.
    pub(super) fn list_inbounds(
        &self,
        request: ListInboundsRequest,
    ) -> Result<ListInboundsResponse, Status> {
        let all = self.inbounds.all().into_iter();
        let inbounds = all.map(|inbound| match request.is_only_tags {
            true => InboundHandlerConfig {
                tag: inbound.tag.as_deref().unwrap_or_default().to_owned(),
                ..Default::default()
            },
            false => messages::write_inbound(&inbound.settings(), Keys::Kept),
        });
        Ok(ListInboundsResponse {
            inbounds: inbounds.collect(),
        })
    }

    pub(super) fn get_inbound_users(
        &self,
        request: GetInboundUserRequest,
    ) -> Result<GetInboundUserResponse, Status> {
        let inbound = self.find_inbound(&request.tag)?;
        let email = Some(request.email.as_str()).filter(|email| !email.is_empty());
        let users = inbound.protocol.users(email).map_err(unknown)?;
        let mut users: Vec<User> = users.iter().map(messages::write_user).collect();
        if email.is_some() && users.is_empty() {
            // Xray's answer to an email that nobody has: a user of whom nothing is said.
            users.push(User::default());
        }
        Ok(GetInboundUserResponse { users })
    }

    pub(super) fn get_inbound_users_count(
        &self,
        request: GetInboundUserRequest,
    ) -> Result<GetInboundUsersCountResponse, Status> {
        let inbound = self.find_inbound(&request.tag)?;
        let count = inbound.protocol.count_users().map_err(unknown)?;
        let count = count as i64;
        Ok(GetInboundUsersCountResponse { count })
    }

    pub(super) async fn add_outbound(
        &self,
        request: AddOutboundRequest,
    ) -> Result<AddOutboundResponse, Status> {
        let outbound = request.outbound.unwrap_or_default();
        let outbound = messages::outbound(&outbound).map_err(status)?;
        let outbound = app::outbound(outbound, self.browser.as_ref()).map_err(unknown)?;
        let _changing = self.changing.lock().await;
        let outbounds = &self.dispatcher.outbounds;
        if let Some(tag) = &outbound.tag
            && outbounds.get(tag).is_some()
        {
            return Err(tag_taken(tag));
        }
        check_way(outbounds, &outbound)?;
        match outbounds.add(outbound) {
            Ok(()) => {
                self.dispatcher.warm_up();
                Ok(AddOutboundResponse {})
            }
            Err(outbound) => Err(tag_taken(outbound.tag.as_deref().unwrap_or_default())),
        }
    }

    pub(super) fn remove_outbound(
        &self,
        request: RemoveOutboundRequest,
    ) -> Result<RemoveOutboundResponse, Status> {
        let tag = request.tag;
        if tag.is_empty() {
            return Err(no_clue());
        }
        // Like V2Ray, content when there is none.
        self.dispatcher.outbounds.remove(&tag);
        Ok(RemoveOutboundResponse {})
    }

    /// V2Ray has no operation for outbounds either.
    pub(super) fn alter_outbound(
        &self,
        _: AlterOutboundRequest,
    ) -> Result<AlterOutboundResponse, Status> {
        Err(unknown("not an outbound operation"))
    }

    /// In Xray's form; the API's own is none that could be added.
    pub(super) fn list_outbounds(
        &self,
        _: ListOutboundsRequest,
    ) -> Result<ListOutboundsResponse, Status> {
        let all = self.dispatcher.outbounds.all().into_iter();
        let outbounds = all.map(|outbound| {
            let settings = app::settings_of(&outbound)?;
            Some(messages::write_outbound(&settings, Keys::Kept))
        });
        Ok(ListOutboundsResponse {
            outbounds: outbounds.flatten().collect(),
        })
    }

    fn find_inbound(&self, tag: &str) -> Result<Arc<app::Inbound>, Status> {
        self.inbounds.get(tag).ok_or_else(|| {
            let text = format!("failed to get handler: {tag} > handler not found: {tag}");
            unknown(text)
        })
    }
}

fn added_user(operation: &AddUserOperation) -> Result<AnyUser, Status> {
    let user = operation.user.as_ref();
    let user = user.ok_or_else(|| unknown("failed to parse user"))?;
    messages::user(user).map_err(status)
}

/// As V2Ray's service would say it, as far as there is a word for it.
fn status(error: MessageError) -> Status {
    match error {
        MessageError::Unreadable(e) => unreadable(e),
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
