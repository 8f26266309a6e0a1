// segmentd: the server.

#include <cstdio>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "app/logging.h"
#include "app/options.h"
#include "app/service.h"
#include "app/signals.h"

int main(int argc, char** argv) {
  const segmentd::ParsedOptions parsed =
      segmentd::ParseOptions(std::vector<std::string>(argv + 1, argv + argc));
  if (!parsed.options) {
    if (parsed.status == segmentd::kDone) {
      fputs(parsed.text.c_str(), stdout);
    } else {
      fprintf(stderr, "segmentd: %s\n", parsed.text.c_str());
    }
    return parsed.status;
  }
  const segmentd::Options& options = *parsed.options;
  segmentd::SetUpLogging(options.log_level, options.log_json ? segmentd::LogFormat::kJson
                                                             : segmentd::LogFormat::kText);
  segmentd::Signals& signals =
      segmentd::Signals::Install(absl::Milliseconds(options.stop_timeout.millis()));
  return segmentd::Serve(options, signals);
}
