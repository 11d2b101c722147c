import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Base64;

/** The JDK's client as it is by default, which asks for HTTP/2 by an upgrade; see runner.py. */
public class Client {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();
    private static Path folder;

    public static void main(String[] arguments) throws Exception {
        String server = arguments[0];
        String relay = arguments[1];
        folder = Path.of(arguments[2]);
        String invocations = server + "/invocations";
        String infer = server + "/v2/models/wine/infer";
        send("invocations", post(invocations, bytes("invocations")));
        send("infer", post(infer, bytes("infer")));
        for (int i = 0; i < 100; i++) {
            send("keep-alive", post(relay + "/invocations", bytes("invocations")));
        }
        byte[] large = Files.readAllBytes(folder.resolve("large"));
        // Of a stream the length is not known, so it is sent in chunks.
        send("chunked", post(invocations,
            BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(large))));
        send("head", request(server + "/ping").method("HEAD", BodyPublishers.noBody()));
        send("head", request(server + "/ping"));
        send("expect-continue", post(invocations, bytes("invocations")).expectContinue(true));
        send("gzip", post(invocations, bytes("gzip")).header("Content-Encoding", "gzip"));
        send("wrong", post(invocations, bytes("wrong")));
        send("wrong-infer", post(infer, bytes("wrong")));
    }

    private static BodyPublisher bytes(String name) throws Exception {
        return BodyPublishers.ofByteArray(Files.readAllBytes(folder.resolve(name)));
    }

    private static HttpRequest.Builder request(String url) {
        return HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(240));
    }

    private static HttpRequest.Builder post(String url, BodyPublisher body) {
        return request(url).header("Content-Type", "application/json").POST(body);
    }

    private static void send(String name, HttpRequest.Builder request) throws Exception {
        var response = CLIENT.send(request.build(), BodyHandlers.ofByteArray());
        String body = Base64.getEncoder().encodeToString(response.body());
        System.out.println(name + "\t" + response.statusCode() + "\t" + body);
    }
}
