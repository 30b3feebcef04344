module example.com/fractal-tiles

go 1.22
