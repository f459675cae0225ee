// Go: a goroutine per stage, a channel per edge, pointers to elements made one by one; no context, no select, no error path.
//
// Usage: go_channels <stages> <capacity> <elements>; prints the seconds of wall and CPU time that the elements took, and how many
// arrived.
package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

type textElement struct {
	text     string
	metadata map[string]string
	priority int
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func move(stages, capacity, elements int) int {
	edge := make(chan *textElement, capacity)
	go func(output chan<- *textElement) {
		defer close(output)
		for i := 0; i < elements; i++ {
			output <- &textElement{text: "x"}
		}
	}(edge)
	for i := 0; i < stages; i++ {
		next := make(chan *textElement, capacity)
		go func(input <-chan *textElement, output chan<- *textElement) {
			defer close(output)
			for element := range input {
				output <- element
			}
		}(edge, next)
		edge = next
	}
	count := 0
	for range edge {
		count++
	}
	return count
}

func argument(index int) int {
	value, err := strconv.Atoi(os.Args[index])
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	stages, capacity, elements := argument(1), argument(2), argument(3)
	move(stages, capacity, elements/20+1)
	cpu, began := cpuSeconds(), time.Now()
	arrived := move(stages, capacity, elements)
	fmt.Println(time.Since(began).Seconds(), cpuSeconds()-cpu, arrived)
}
