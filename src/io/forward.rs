//! What a layer leaves to the link below it.

/// In an implementation of `AsyncWrite` or [`Io`](super::Io): these methods are those of the link in `$inner`.
macro_rules! forward {
    ($inner:ident: $($method:ident)*) => { $( $crate::io::forward!(@ $inner $method); )* };
    (@ $inner:ident poll_write) => {
        fn poll_write(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            buf: &[u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::pin::Pin::new(&mut self.$inner).poll_write(cx, buf)
        }
    };
    (@ $inner:ident poll_write_vectored) => {
        fn poll_write_vectored(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            bufs: &[std::io::IoSlice<'_>],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::pin::Pin::new(&mut self.$inner).poll_write_vectored(cx, bufs)
        }
    };
    (@ $inner:ident is_write_vectored) => {
        fn is_write_vectored(&self) -> bool {
            self.$inner.is_write_vectored()
        }
    };
    (@ $inner:ident poll_write_in_place) => {
        fn poll_write_in_place(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            buf: &mut [u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::pin::Pin::new(&mut self.$inner).poll_write_in_place(cx, buf)
        }
    };
    (@ $inner:ident half_closes) => {
        fn half_closes(&self) -> bool {
            self.$inner.half_closes()
        }
    };
    (@ $inner:ident end_cuts_off) => {
        fn end_cuts_off(&self) -> bool {
            self.$inner.end_cuts_off()
        }
    };
    (@ $inner:ident say_end) => {
        fn say_end(&mut self) {
            self.$inner.say_end();
        }
    };
    (@ $inner:ident holds_up_others) => {
        fn holds_up_others(&self) -> bool {
            self.$inner.holds_up_others()
        }
    };
    (@ $inner:ident is_left_to_peer) => {
        fn is_left_to_peer(&self) -> bool {
            self.$inner.is_left_to_peer()
        }
    };
    (@ $inner:ident cork) => {
        fn cork(&mut self) {
            self.$inner.cork();
        }
    };
    (@ $inner:ident set_close_reason) => {
        fn set_close_reason(&mut self, reason: $crate::io::CloseReason) {
            self.$inner.set_close_reason(reason);
        }
    };
    (@ $inner:ident goodbye) => {
        fn goodbye(&self) -> $crate::io::Goodbye {
            self.$inner.goodbye()
        }
    };
    (@ $inner:ident tcp) => {
        fn tcp(&self) -> Option<&tokio::net::TcpStream> {
            self.$inner.tcp()
        }
    };
    (@ $inner:ident socket) => {
        fn socket(&self) -> Option<&tokio::net::TcpStream> {
            self.$inner.socket()
        }
    };
    (@ $inner:ident presence) => {
        fn presence(&self) -> $crate::io::Presence {
            self.$inner.presence()
        }
    };
    (@ $inner:ident source) => {
        fn source(&self) -> Option<&tokio::net::TcpStream> {
            self.$inner.source()
        }
    };
    (@ $inner:ident took) => {
        fn took(&mut self, bytes: usize) {
            self.$inner.took(bytes);
        }
    };
    (@ $inner:ident sink) => {
        fn sink(&self) -> Option<$crate::io::Sink<'_>> {
            self.$inner.sink()
        }
    };
    (@ $inner:ident poll_announce) => {
        fn poll_announce(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            bytes: usize,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.$inner).poll_announce(cx, bytes)
        }
    };
    (@ $inner:ident gave) => {
        fn gave(&mut self, bytes: usize) {
            self.$inner.gave(bytes);
        }
    };
    (@ $inner:ident set_low_water) => {
        fn set_low_water(&mut self, bytes: usize) {
            self.$inner.set_low_water(bytes);
        }
    };
    (@ $inner:ident poll_gone) => {
        fn poll_gone(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
            self.$inner.poll_gone(cx)
        }
    };
    (@ $inner:ident bound_unsent) => {
        fn bound_unsent(&mut self, bytes: u32) {
            self.$inner.bound_unsent(bytes);
        }
    };
    // Flushing, shutting down, closing and ending look alike.
    (@ $inner:ident $method:ident) => {
        fn $method(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::pin::Pin::new(&mut self.$inner).$method(cx)
        }
    };
}

pub(crate) use forward;
