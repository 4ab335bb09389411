import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import jdk.jshell.DeclarationSnippet;
import jdk.jshell.Diag;
import jdk.jshell.EvalException;
import jdk.jshell.JShell;
import jdk.jshell.JShellException;
import jdk.jshell.Snippet;
import jdk.jshell.SnippetEvent;
import jdk.jshell.SourceCodeAnalysis;
import jdk.jshell.UnresolvedReferenceException;

/**
 * The Java kernel: {@code Kernel SOCKET}.
 *
 * <p>JShell evaluates in this very process: one JVM per context, and an interrupt that stops the
 * code but not the kernel. Frames both ways: {@code KIND ID LENGTH\n} and so many bytes.
 */
final class Kernel {
    private static final int CHUNK = 16 << 10;

    private final InputStream in;
    private final OutputStream out;
    private final JShell shell;
    private volatile String current = "-";
    private volatile boolean interrupted;
    private int count;

    private Kernel(SocketChannel socket) {
        in = Channels.newInputStream(socket);
        out = Channels.newOutputStream(socket);
        System.setIn(InputStream.nullInputStream());
        System.setOut(new PrintStream(new Stream("stdout"), true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(new Stream("stderr"), true, StandardCharsets.UTF_8));
        shell = JShell.builder().executionEngine("local").out(System.out).err(System.err).build();
    }

    public static void main(String[] args) throws IOException {
        Kernel kernel;
        try (var server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(UnixDomainSocketAddress.of(Path.of(args[0])));
            kernel = new Kernel(server.accept());
        }
        kernel.prepare();
        sun.misc.Signal.handle(new sun.misc.Signal("INT"), signal -> kernel.interrupt());
        kernel.serve();
        System.exit(0);
    }

    /** What JShell's own prompt imports. */
    private void prepare() {
        String[] packages = {
            "java.io", "java.math", "java.net", "java.nio.file", "java.util", "java.util.concurrent",
            "java.util.function", "java.util.regex", "java.util.stream"
        };
        for (String name : packages) {
            shell.eval("import " + name + ".*;");
        }
    }

    private void serve() throws IOException {
        while (true) {
            String[] header;
            byte[] payload;
            try {
                header = header().split(" ");
                payload = in.readNBytes(Integer.parseInt(header[2]));
            } catch (EOFException end) {
                return;
            }
            String text = new String(payload, StandardCharsets.UTF_8);
            switch (header[0]) {
                case "java" -> execute(header[1], text);
                case "properties" -> properties(header[1], text);
                // An interrupt is a signal.
                default -> { }
            }
        }
    }

    private String header() throws IOException {
        var line = new ByteArrayOutputStream();
        for (int next = in.read(); next != '\n'; next = in.read()) {
            if (next < 0) {
                throw new EOFException();
            }
            line.write(next);
        }
        return line.toString(StandardCharsets.UTF_8);
    }

    private void interrupt() {
        if (!current.equals("-")) {
            interrupted = true;
            shell.stop();
        }
    }

    /** {@code NAME=VALUE} sets, {@code NAME} alone clears; each ends with NUL. */
    private void properties(String id, String changes) {
        current = id;
        for (String change : changes.split("\0")) {
            int end = change.indexOf('=');
            if (end > 0) {
                System.setProperty(change.substring(0, end), change.substring(end + 1));
            } else if (!change.isEmpty()) {
                System.clearProperty(change);
            }
        }
        finish("ok");
    }

    private void execute(String id, String code) {
        current = id;
        interrupted = false;
        count++;
        send("status", "{\"execution_state\":\"busy\"}");
        send("execute_input", "{\"execution_count\":" + count + "}");
        boolean good = evaluate(code);
        System.out.flush();
        System.err.flush();
        finish(good ? "ok" : "error");
    }

    private void finish(String status) {
        send("execute_reply", "{\"status\":" + quoted(status) + "}");
        send("status", "{\"execution_state\":\"idle\"}");
        current = "-";
    }

    /** Evaluates snippet by snippet; only the last one's value is a result. */
    private boolean evaluate(String code) {
        SourceCodeAnalysis analysis = shell.sourceCodeAnalysis();
        String rest = code;
        SnippetEvent last = null;
        while (!rest.isBlank()) {
            SourceCodeAnalysis.CompletionInfo next = analysis.analyzeCompletion(rest);
            String source = next.completeness().isComplete() ? next.source() : rest;
            for (SnippetEvent event : shell.eval(source)) {
                if (event.causeSnippet() != null) {
                    continue;
                }
                if (interrupted) {
                    return failed("Interrupted", "The code was interrupted", "");
                }
                if (event.status() == Snippet.Status.REJECTED) {
                    return rejected(event.snippet());
                }
                if (event.exception() != null) {
                    return thrown(event.exception());
                }
                last = event;
            }
            rest = next.completeness().isComplete() ? next.remaining() : "";
        }
        boolean shown = last != null && isExpression(last.snippet()) && last.value() != null;
        if (shown && !last.value().isEmpty()) {
            System.out.flush();
            System.err.flush();
            send("execute_result", "{\"data\":{\"text/plain\":" + quoted(last.value()) + "}}");
        }
        return true;
    }

    /** A name alone and an assignment are expressions; anything else gets a variable of its own. */
    private static boolean isExpression(Snippet snippet) {
        return snippet.kind() == Snippet.Kind.EXPRESSION
            || snippet.subKind() == Snippet.SubKind.TEMP_VAR_EXPRESSION_SUBKIND;
    }

    private boolean rejected(Snippet snippet) {
        String source = snippet.source();
        String complaints = shell.diagnostics(snippet).filter(Diag::isError)
            .map(diagnosis -> diagnosis.getMessage(Locale.ROOT) + "\n  " + place(source, diagnosis))
            .collect(Collectors.joining("\n"));
        return failed("CompilationException", complaints, complaints + "\n");
    }

    private static String place(String source, Diag diagnosis) {
        int at = (int) Math.max(0, Math.min(diagnosis.getPosition(), source.length()));
        int start = source.lastIndexOf('\n', Math.max(0, at - 1)) + 1;
        int end = source.indexOf('\n', at);
        String line = source.substring(Math.min(start, at), end < 0 ? source.length() : end);
        return line + "\n  " + " ".repeat(at - Math.min(start, at)) + "^";
    }

    private boolean thrown(JShellException exception) {
        if (exception instanceof EvalException thrown) {
            String message = thrown.getMessage() == null ? "" : thrown.getMessage();
            var trace = new StringBuilder(thrown.getExceptionClassName() + ": " + message + "\n");
            for (StackTraceElement frame : thrown.getStackTrace()) {
                trace.append("    at ").append(frame).append('\n');
            }
            return failed(thrown.getExceptionClassName(), message, trace.toString());
        }
        if (exception instanceof UnresolvedReferenceException reference) {
            DeclarationSnippet snippet = reference.getSnippet();
            List<String> missing = shell.unresolvedDependencies(snippet).toList();
            return failed("UnresolvedReferenceException", String.join(", ", missing), "");
        }
        return failed(exception.getClass().getSimpleName(), String.valueOf(exception.getMessage()), "");
    }

    private boolean failed(String name, String value, String trace) {
        System.out.flush();
        System.err.flush();
        send("error", "{\"ename\":" + quoted(name) + ",\"evalue\":" + quoted(value)
            + ",\"traceback\":[" + quoted(trace) + "]}");
        return false;
    }

    private synchronized void send(String kind, String content) {
        byte[] payload = content.getBytes(StandardCharsets.UTF_8);
        byte[] header = (kind + " " + current + " " + payload.length + "\n").getBytes(StandardCharsets.UTF_8);
        try {
            out.write(header);
            out.write(payload);
        } catch (IOException gone) {
            Runtime.getRuntime().halt(0);
        }
    }

    private static String quoted(String text) {
        var json = new StringBuilder(text.length() + 16).append('"');
        for (int index = 0; index < text.length(); index++) {
            char character = text.charAt(index);
            if (character == '"' || character == '\\') {
                json.append('\\').append(character);
            } else if (character < ' ' || Character.isSurrogate(character)) {
                json.append(String.format("\\u%04x", (int) character));
            } else {
                json.append(character);
            }
        }
        return json.append('"').toString();
    }

    /** Collects what is written until somebody flushes, a line ends or it is much. */
    private final class Stream extends OutputStream {
        private final String name;
        private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

        Stream(String name) {
            this.name = name;
        }

        @Override
        public synchronized void write(int one) {
            bytes.write(one);
        }

        @Override
        public synchronized void write(byte[] many, int from, int length) {
            bytes.write(many, from, length);
            if (bytes.size() >= CHUNK) {
                flush();
            }
        }

        @Override
        public synchronized void flush() {
            if (bytes.size() == 0) {
                return;
            }
            String text = bytes.toString(StandardCharsets.UTF_8);
            bytes.reset();
            // Between cells there is nobody to read it.
            if (!current.equals("-")) {
                send("stream", "{\"name\":\"" + name + "\",\"text\":" + quoted(text) + "}");
            }
        }
    }
}
