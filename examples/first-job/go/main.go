// SPDX-License-Identifier: Apache-2.0

// A producer and a worker for jobbie: plain HTTP, nothing but the standard library.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
)

var errNothing = errors.New("there is nothing")

// Calls the server. Whatever is refused is an error.
func call(path string, body map[string]any, into any) error {
	url := os.Getenv("JOBBIE_URL")
	if url == "" {
		url = "http://127.0.0.1:8080"
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequest("POST", url+"/api/v1"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if key := os.Getenv("JOBBIE_API_KEY"); key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusNoContent:
		return errNothing
	case answer.StatusCode >= 300:
		return fmt.Errorf("%s: %s", path, answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(into)
}

// What is exchanged: each call uses some of the fields.
type job struct {
	ID      string                `json:"job_id"`
	Token   string                `json:"lease_token"`
	Payload struct{ Name string } `json:"payload"`
}

// The job itself.
func work(j job) (string, error) {
	return "hello, " + j.Payload.Name, nil
}

func run() error {
	// The producer. The job is on disk when this returns.
	var enqueued job
	payload := map[string]string{"name": "Eve"}
	if err := call("/enqueue", map[string]any{"queue": "greetings", "payload": payload}, &enqueued); err != nil {
		return err
	}
	fmt.Println("enqueued", enqueued.ID)

	// The worker. A real one waits longer for each job, and goes on for ever.
	for {
		var j job
		fetch := map[string]any{"queues": []string{"greetings"}, "worker_id": "go-1", "timeout": "1s"}
		if err := call("/fetch", fetch, &j); err == errNothing {
			return nil
		} else if err != nil {
			return err
		}
		result, err := work(j)
		if err != nil { // the job is tried again later
			err = call("/fail/"+j.ID, map[string]any{"lease_token": j.Token, "error": err.Error()}, &job{})
		} else if err = call("/ack/"+j.ID, map[string]any{"lease_token": j.Token, "result": result}, &job{}); err == nil {
			fmt.Println(result)
		}
		if err != nil {
			return err
		}
	}
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
