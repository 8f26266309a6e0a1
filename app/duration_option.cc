#include "app/duration_option.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace segmentd {

CLI::Option* AddDuration(CLI::App& app, const std::string& name, std::function<void(Duration)> set,
                         Duration low, Duration high, const std::string& description) {
  const auto take = [name, set = std::move(set), low, high](const std::string& text) {
    const absl::StatusOr<Duration> parsed = ParseDuration(text);
    if (!parsed.ok()) {
      throw CLI::ValidationError(name, std::string(parsed.status().message()));
    }
    if (*parsed < low || *parsed > high) {
      throw CLI::ValidationError(name, absl::StrCat(text, " is not between ", FormatDuration(low),
                                                    " and ", FormatDuration(high)));
    }
    set(*parsed);
  };
  return app.add_option_function<std::string>(name, take, description)->type_name("DURATION");
}

}  // namespace segmentd
