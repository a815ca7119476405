-- Sends each request so many times at once, and prints what came of it as one line of JSON.
-- wrk -s wrk.lua URL -- DEPTH [close]
function init(args)
   local headers = {}
   if args[2] == "close" then headers["Connection"] = "close" end
   local one = wrk.format("GET", nil, headers)
   local all = {}
   for at = 1, tonumber(args[1]) do all[at] = one end
   batch = table.concat(all)
end

function request()
   return batch
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '{"requests":%d,"seconds":%f,"errors":%d,"p50":%f,"p99":%f}\n',
      summary.requests, summary.duration / 1e6,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout,
      latency:percentile(50), latency:percentile(99)))
end
