// The file of --config: TOML, one key for each option.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace segmentd {

// A key with its value as a flag would have it, or the values of a list.
struct ConfigLine {
  std::string name;
  std::vector<std::string> values;
};

// In the order of the names. INVALID_ARGUMENT, with path and line: it can't be read, is no TOML, or
// holds what no option can be.
absl::StatusOr<std::vector<ConfigLine>> ReadConfigFile(const std::string& path);

// `text` as TOML writes a string.
std::string QuoteForConfig(const std::string& text);

}  // namespace segmentd
