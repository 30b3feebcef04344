// fractal-tiles renders square tiles of the Mandelbrot set: a job is a POST of its zoom and number to /jobs, and the
// tile is then at /tiles/ZOOM-COLUMN-ROW.png.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const (
	tilePixels = 64 // on each side
	mostSteps  = 100
	mostZoom   = 10
)

// job is the payload: at zoom z there are 2^z times 2^z tiles, numbered row by row.
type job struct {
	Zoom int `json:"zoom"`
	Tile int `json:"tile"`
}

func (j job) name() string {
	side := 1 << j.Zoom
	return fmt.Sprintf("%d-%d-%d.png", j.Zoom, j.Tile%side, j.Tile/side)
}

func main() {
	listen := flag.String("listen", ":8090", "address to listen on")
	tiles := flag.String("tiles", "tiles", "folder for the tiles")
	flag.Parse()
	if err := os.MkdirAll(*tiles, 0o755); err != nil {
		log.Fatal(err)
	}

	routes := http.NewServeMux()
	routes.HandleFunc("POST /jobs", func(w http.ResponseWriter, r *http.Request) { work(w, r, *tiles) })
	routes.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	routes.Handle("GET /tiles/", http.StripPrefix("/tiles/", http.FileServer(http.Dir(*tiles))))
	server := &http.Server{Handler: routes, ReadHeaderTimeout: 10 * time.Second}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	finished := make(chan error)
	go func() {
		<-ctx.Done()
		finished <- server.Shutdown(context.Background()) // when the last request is answered
	}()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on %s", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	<-finished
}

// work answers one job. 2xx: done, and the body is the result. 4xx: failed for good. 5xx: to be tried again.
func work(w http.ResponseWriter, r *http.Request, folder string) {
	var j job
	if err := json.NewDecoder(r.Body).Decode(&j); err != nil {
		http.Error(w, "payload: "+err.Error(), http.StatusBadRequest)
		return
	}
	if j.Zoom < 0 || j.Zoom > mostZoom || j.Tile < 0 || j.Tile >= 1<<(2*j.Zoom) {
		http.Error(w, fmt.Sprintf("payload: no tile %d at zoom %d", j.Tile, j.Zoom), http.StatusUnprocessableEntity)
		return
	}
	if err := store(filepath.Join(folder, j.name()), render(j)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	log.Printf("job %s: %s", r.Header.Get("Hammerwork-Job-Id"), j.name())
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]string{"tile": j.name()})
}

// store writes the picture whole or not at all, so that a job that runs twice does no harm.
func store(path string, picture image.Image) error {
	var content bytes.Buffer
	if err := png.Encode(&content, picture); err != nil {
		return err
	}
	unfinished, err := os.CreateTemp(filepath.Dir(path), ".tile-*")
	if err != nil {
		return err
	}
	defer os.Remove(unfinished.Name())
	if _, err := unfinished.Write(content.Bytes()); err != nil {
		unfinished.Close()
		return err
	}
	if err := unfinished.Close(); err != nil {
		return err
	}
	return os.Rename(unfinished.Name(), path)
}

// render draws the part of the square from -2-1.25i, 2.5 wide, that the tile shows. Black is the set itself.
func render(j job) image.Image {
	side := 1 << j.Zoom
	pixel := 2.5 / float64(side*tilePixels)
	picture := image.NewGray(image.Rect(0, 0, tilePixels, tilePixels))
	for y := range tilePixels {
		for x := range tilePixels {
			re := -2 + pixel*(float64(j.Tile%side*tilePixels+x)+0.5)
			im := -1.25 + pixel*(float64(j.Tile/side*tilePixels+y)+0.5)
			picture.SetGray(x, y, color.Gray{Y: shade(complex(re, im))})
		}
	}
	return picture
}

// shade tells how fast the point escapes: from 255, at once, to 0, not within mostSteps.
func shade(point complex128) uint8 {
	z := complex(0, 0)
	for step := range mostSteps {
		z = z*z + point
		if real(z)*real(z)+imag(z)*imag(z) > 4 {
			return uint8(255 - 2*step)
		}
	}
	return 0
}
