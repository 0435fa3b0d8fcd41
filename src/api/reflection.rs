//! ServerReflection: what services there are, and what their messages look like. `grpcurl` asks for it.

use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use bytes::Bytes;

use super::methods::Service;
use super::raw::{read, written};
use super::watch::{Answers, QUEUED};
use crate::config::Services;
use crate::wire::descriptors::{self, File};
use crate::wire::grpc::reflection::v1::server_reflection_request::MessageRequest;
use crate::wire::grpc::reflection::v1::server_reflection_response::MessageResponse;
use crate::wire::grpc::reflection::v1::{
    ErrorResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest,
    ServerReflectionResponse, ServiceResponse,
};

/// Under both it looks alike on the wire.
pub(super) const NAMES: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// An answer to each request, in their order.
pub(super) fn answers(services: Services, mut requests: Streaming<Bytes>) -> Answers {
    let (client, stream) = mpsc::channel(QUEUED);
    crate::io::spawn(async move {
        while let Ok(Some(bytes)) = requests.message().await {
            let answer = answered(services, &bytes);
            if client.send(answer).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(stream)
}

fn answered(services: Services, bytes: &Bytes) -> Result<Bytes, Status> {
    let request: ServerReflectionRequest = read(bytes)?;
    let response = answer(services, request.message_request.as_ref());
    Ok(written(&ServerReflectionResponse {
        valid_host: request.host.clone(),
        original_request: Some(request),
        message_response: Some(response),
    }))
}

fn answer(services: Services, request: Option<&MessageRequest>) -> MessageResponse {
    let not_found = |what: &str| error(Code::NotFound, format!("{what} is not known"));
    match request {
        Some(MessageRequest::ListServices(_)) => {
            let mut names: Vec<_> = Service::all_names(services).collect();
            names.sort_unstable();
            let service = names.into_iter().map(|name| ServiceResponse {
                name: name.to_owned(),
            });
            MessageResponse::ListServicesResponse(ListServiceResponse {
                service: service.collect(),
            })
        }
        Some(MessageRequest::FileByFilename(name)) => {
            descriptors::file(name).map_or_else(|| not_found(name), with_dependencies)
        }
        Some(MessageRequest::FileContainingSymbol(name)) => {
            let file = descriptors::file_of(name.trim_start_matches('.'));
            file.map_or_else(|| not_found(name), with_dependencies)
        }
        Some(MessageRequest::FileContainingExtension(wanted)) => not_found(&wanted.containing_type),
        Some(MessageRequest::AllExtensionNumbersOfType(name)) => not_found(name),
        None => error(
            Code::InvalidArgument,
            "the request asks for nothing".to_owned(),
        ),
    }
}

/// A file, and all that it is built on.
fn with_dependencies(file: &'static File) -> MessageResponse {
    let mut files = vec![file];
    let mut next = 0;
    while let Some(file) = files.get(next) {
        next += 1;
        for name in &file.described.dependency {
            if !files.iter().any(|known| known.described.name == *name) {
                files.extend(descriptors::file(name));
            }
        }
    }
    let bytes = files.into_iter().map(|file| file.bytes.clone());
    MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
        file_descriptor_proto: bytes.collect(),
    })
}

fn error(code: Code, error_message: String) -> MessageResponse {
    MessageResponse::ErrorResponse(ErrorResponse {
        error_code: code.into(),
        error_message,
    })
}
