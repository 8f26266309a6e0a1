// segmentd's parts, put together: HTTP, topics, definitions, workers and gRPC, in the order in
// which they start.
#pragma once

#include "app/exit_status.h"
#include "app/options.h"
#include "app/signals.h"

namespace segmentd {

// Returns when a stop was asked for and done (kDone), or when something can't be used
// (kUnavailable, or kWrongUse for what the options are the cause of); it has been logged then.
ExitStatus Serve(const Options& options, Signals& signals);

}  // namespace segmentd
