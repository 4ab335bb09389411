# The R kernel: `kernel.R CONNECTION_FILE`. IRkernel with two differences.

# Its publisher would drop messages once 1,000 are waiting. Output has to arrive
# whole, so it waits here, in the memory of whoever printed it. The limit is set
# between the making of a socket and its binding, where IRkernel has no seam.
suppressMessages(trace(
  "zmq.bind",
  quote(pbdZMQ::zmq.setsockopt(socket, pbdZMQ::ZMQ.SO()$SNDHWM, 0L)),
  where = asNamespace("IRkernel"), print = FALSE
))

# There is no screen: pictures are drawn in memory.
options(bitmapType = "cairo", device = "png", jupyter.plot_mimetypes = c("text/plain", "image/png"))

IRkernel::main()
