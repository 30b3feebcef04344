// What robfig/cron, the library of Kubernetes' CronJob, makes of expressions:
//
//	cd tests/unit/operator/cron_table && go run . > table.json
//
// It never ends for a zone that leaves out a whole day (Pacific/Apia in 2011), which is why there is none.
// The years are past, so that no later release of the time zone database changes an answer.
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
)

type place struct {
	Zone string `json:"zone"`
	Year int    `json:"year"`
	// A day within the year, UTC: from every seventh minute of it and of the day after, the next time is looked for.
	Change string `json:"change"`
}

var places = []place{
	{"UTC", 2024, "2024-02-28"},
	{"Europe/Berlin", 2025, "2025-03-29"},
	{"Europe/Berlin", 2024, "2024-10-26"},
	{"Europe/London", 2025, "2025-03-29"},
	{"America/New_York", 2025, "2025-03-08"},
	{"America/New_York", 2024, "2024-11-02"},
	{"America/Sao_Paulo", 2018, "2018-11-03"},
	{"America/Sao_Paulo", 2019, "2019-02-16"},
	{"Africa/Cairo", 2024, "2024-04-25"},
	{"Australia/Lord_Howe", 2024, "2024-10-05"},
	{"America/St_Johns", 2011, "2011-03-12"},
	{"Antarctica/Troll", 2024, "2024-03-30"},
	{"Asia/Kathmandu", 2024, "2024-12-31"},
}

var yearly = []string{
	"30 2 * * *", "0 0 * * *", "15 0,1,2,3 * * *", "*/17 1-3 * * *", "45 23 * * SUN", "30 1 1,15 * 1",
	"0 12 */2 * *", "0 12 */2 * MON", "0 12 * * */2", "59 23 31 * *", "0 6 29 2 *", "7-59/13 */5 * mar,oct *", "0 0 ? * 6",
	"30 6-16/4 * * 1-5", "5/20 22/1 10-20/3 JAN-DEC/3 ?", "@hourly", "@daily", "@weekly", "@monthly", "@yearly",
}

// Near midnight and in the small hours, which is when clocks are changed.
var daily = []string{"*/20 0-3 * * *", "30 2 * * *", "0 0 * * *", "0 3 * * *", "20 0,23 * 3-12 *", "0 1 1 * 0"}

var doubtful = []string{
	"* * * * *", "? ? ? ? ?", "*/5 * * * *", "0-59 0-23 1-31 1-12 0-6", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *",
	"* * * 0 *", "* * * 13 *", "* * * * 7", "* * * * sun", "* * * * Sunday", "* * * FEB MON-FRI", "* * * * fri-mon", "*/0 * * * *",
	"*/60 * * * *", "*/999 * * * *", "1/2/3 * * * *", "1-2-3 * * * *", "-1 * * * *", "+1 * * * *", "a * * * *", "1, * * * *", ", * * * *",
	",,1 * * * *", "*-5 * * * *", "*-5-7 * * * *", "?/2 * * * *", "1-5/ * * * *", "/5 * * * *", "5- * * * *", "1.5 * * * *", "*/-2 * * * *",
	"*/jan * * * *", "* * * jan/2 *", "* * * */jan *", "* * L * *", "* * * * 1#2", "* * 15W * *", "* * * *", "* * * * * *", "", " ",
	"  1   2 3  4 5  ", "1\t2 3 4 5", "@daily", "@DAILY", " @daily", "@daily ", "@every 1h", "@every 90m", "@every 1h30m", "@every 1.5h",
	"@every 60s", "@every .5h", "@every 1.h", "@every +2m", "@every 3600000ms", "@every", "@every ", "@every 1", "@every h", "@every 1d",
	"@every  1h", "@every 1h ", "@every 1h 30m", "@reboot", "@", "١ * * * *", "1 * * * *;", "5-1 * * * *", "00 00 01 01 00", "01/010 * * * *",
}

type row struct {
	Expression string `json:"expression"`
	place
	Count  int    `json:"count"`
	Digest string `json:"digest"`
}

func digest(times []time.Time) string {
	hash := sha256.New()
	for _, each := range times {
		seconds := int64(-1)
		if !each.IsZero() {
			seconds = each.Unix()
		}
		binary.Write(hash, binary.BigEndian, seconds)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16]
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	var table struct {
		Years   []row           `json:"years"`
		Changes []row           `json:"changes"`
		Valid   map[string]bool `json:"valid"`
	}
	for _, where := range places {
		must(time.LoadLocation(where.Zone))
		texts := daily
		if where.Year == 2025 {
			texts = yearly
		}
		for _, text := range texts {
			times := must(cron.ParseStandard("TZ=" + where.Zone + " " + text))
			var found []time.Time
			end := time.Date(where.Year+1, 1, 1, 0, 0, 0, 0, time.UTC)
			for at := times.Next(time.Date(where.Year, 1, 1, 0, 0, 0, 0, time.UTC)); at.Before(end) && !at.IsZero(); at = times.Next(at) {
				found = append(found, at)
			}
			table.Years = append(table.Years, row{text, where, len(found), digest(found)})
		}
		for _, text := range daily {
			times := must(cron.ParseStandard("TZ=" + where.Zone + " " + text))
			var found []time.Time
			start := must(time.Parse(time.DateOnly, where.Change))
			for minute := 0; minute < 2*24*60; minute += 7 {
				found = append(found, times.Next(start.Add(time.Duration(minute)*time.Minute+time.Duration(minute%4)*20*time.Second)))
			}
			table.Changes = append(table.Changes, row{text, where, len(found), digest(found)})
		}
	}
	table.Valid = map[string]bool{}
	for _, text := range doubtful {
		_, err := cron.ParseStandard(text)
		table.Valid[text] = err == nil
	}
	// A line for each answer.
	fmt.Print("{\"years\": ")
	lines(table.Years)
	fmt.Print(",\n\"changes\": ")
	lines(table.Changes)
	fmt.Printf(",\n\"valid\": %s}\n", must(json.MarshalIndent(table.Valid, "", " ")))
}

func lines(rows []row) {
	for position, each := range rows {
		fmt.Printf("%s%s", []string{"[\n", ",\n"}[min(position, 1)], must(json.Marshal(each)))
	}
	fmt.Print("]")
}
