// An option that is a duration, in both programs.
#pragma once

#include <functional>
#include <string>

#include "CLI/App.hpp"

#include "segment/time.h"

namespace segmentd {

// What is no duration, or beyond the bounds, is told by CLI11 as it tells of other values.
CLI::Option* AddDuration(CLI::App& app, const std::string& name, std::function<void(Duration)> set,
                         Duration low, Duration high, const std::string& description);

}  // namespace segmentd
