// How segmentd logs: one line for each message, to standard error.
#pragma once

#include <string>

namespace segmentd {

enum class LogFormat {
  // time=2026-11-22T09:30:00.123Z level=info msg="..."
  kText,
  // {"time":"...","level":"info","msg":"..."}
  kJson,
};

// Before anything logs. `level`: debug, info, warning or error.
void SetUpLogging(const std::string& level, LogFormat format);

}  // namespace segmentd
