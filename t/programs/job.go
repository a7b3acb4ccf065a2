// Goroutines, cgo with threads of C, timers, a TCP server, a child process.
// SPDX-License-Identifier: Apache-2.0
package main

/*
#include <stdlib.h>
#include <unistd.h>
static __thread long calls;
static long mix(long seed) {
	char *block = malloc(1000);
	long hash = seed;
	for (int i = 0; i < 1000; i++) {
		hash = hash * 6364136223846793005L + 1442695040888963407L;
		block[i] = hash >> 56;
	}
	for (int i = 0; i < 1000; i++)
		hash += block[i];
	free(block);
	calls++;
	usleep(50);
	return hash;
}
*/
import "C"

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"
)

func touch(what string) { os.WriteFile(os.Getenv("GATE")+"."+what, nil, 0644) }

func isOpen() bool {
	_, err := os.Stat(os.Getenv("GATE") + ".go")
	return err == nil
}

func check(err error) {
	if err != nil {
		fmt.Println("FAIL", err)
		os.Exit(1)
	}
}

func serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			lines := bufio.NewScanner(conn)
			for lines.Scan() {
				fmt.Fprintln(conn, lines.Text())
			}
		}()
	}
}

func mixAll(round int) (sum int64) {
	var group sync.WaitGroup
	results := make(chan int64, 64)
	for i := 0; i < 16; i++ {
		group.Add(1)
		go func(seed int) {
			defer group.Done()
			garbage := make([][]byte, 0)
			for k := 0; k < 50; k++ {
				garbage = append(garbage, make([]byte, 1000))
			}
			results <- int64(C.mix(C.long(seed))) + int64(len(garbage))
		}(round*16 + i)
	}
	group.Wait()
	close(results)
	for result := range results {
		sum += result
	}
	return
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go serve(listener)
	conn, err := net.Dial("tcp", listener.Addr().String())
	check(err)
	answers := bufio.NewReader(conn)
	child := exec.Command("cat")
	in, err := child.StdinPipe()
	check(err)
	out, err := child.StdoutPipe()
	check(err)
	check(child.Start())
	echoes := bufio.NewReader(out)
	ticker := time.NewTicker(3 * time.Millisecond)
	wants := make([]int64, 10)
	for i := range wants {
		wants[i] = mixAll(i)
	}
	touch("ready")
	for round := 0; round < 50 || !isOpen(); round++ {
		<-ticker.C
		if got := mixAll(round % 10); got != wants[round%10] {
			fmt.Println("FAIL", round, got)
			os.Exit(1)
		}
		want := fmt.Sprintf("round %d\n", round)
		fmt.Fprint(conn, want)
		fmt.Fprint(in, want)
		got, err := answers.ReadString('\n')
		check(err)
		echo, err := echoes.ReadString('\n')
		check(err)
		if got != want || echo != want {
			fmt.Println("FAIL", round, got, echo)
			os.Exit(1)
		}
		touch("alive")
	}
	in.Close()
	check(child.Wait())
	fmt.Println("ok", wants[0], wants[9])
}
