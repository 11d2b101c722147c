// Go's net/http; see runner.py.
package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

var client = &http.Client{
	Timeout: 240 * time.Second,
	// Longer than the default of a second: else the body is sent without the server's leave.
	Transport: &http.Transport{ExpectContinueTimeout: 240 * time.Second},
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func send(name, method, url string, body io.Reader, headers ...string) {
	request, err := http.NewRequest(method, url, body)
	check(err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := client.Do(request)
	check(err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	check(err)
	fmt.Printf("%s\t%d\t%s\n", name, response.StatusCode, base64.StdEncoding.EncodeToString(answer))
}

func main() {
	server, relay, folder := os.Args[1], os.Args[2], os.Args[3]
	read := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join(folder, name))
		check(err)
		return content
	}
	post := func(name, url string, body io.Reader, headers ...string) {
		send(name, "POST", url, body, append(headers, "Content-Type", "application/json")...)
	}
	invocations, infer := server+"/invocations", server+"/v2/models/wine/infer"
	post("invocations", invocations, bytes.NewReader(read("invocations")))
	post("infer", infer, bytes.NewReader(read("infer")))
	for i := 0; i < 100; i++ {
		post("keep-alive", relay+"/invocations", bytes.NewReader(read("invocations")))
	}
	// Of other readers than those of bytes the length is not known: it is sent in chunks.
	post("chunked", invocations, io.MultiReader(bytes.NewReader(read("large"))))
	send("head", "HEAD", server+"/ping", nil)
	send("head", "GET", server+"/ping", nil)
	post("expect-continue", invocations, bytes.NewReader(read("invocations")), "Expect", "100-continue")
	post("gzip", invocations, bytes.NewReader(read("gzip")), "Content-Encoding", "gzip")
	post("wrong", invocations, bytes.NewReader(read("wrong")))
	post("wrong-infer", infer, bytes.NewReader(read("wrong")))
}
