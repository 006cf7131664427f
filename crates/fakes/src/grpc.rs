//! What a server of gRPC is made of where no code is generated for it.

use std::pin::Pin;

use tonic::body::Body;
use tonic::server::UnaryService;
use tonic::{Request, Response, Status};

/// What a service of tower answers with.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Answers one call with what the function makes of the request.
struct Unary<F>(F);

impl<Q, A, F> UnaryService<Q> for Unary<F>
where
    F: FnMut(Q) -> Result<A, Status>,
    A: Send + 'static,
{
    type Response = A;
    type Future = Boxed<Result<Response<A>, Status>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let answer = (self.0)(request.into_inner()).map(Response::new);
        Box::pin(async move { answer })
    }
}

/// Answers a call that has one answer with what the function makes of the request.
pub async fn unary<Q, A>(
    request: http::Request<Body>,
    answer: impl FnMut(Q) -> Result<A, Status>,
) -> http::Response<Body>
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
{
    let codec = tonic_prost::ProstCodec::<A, Q>::default();
    tonic::server::Grpc::new(codec).unary(Unary(answer), request).await
}
