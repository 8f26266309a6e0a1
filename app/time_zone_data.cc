#include "app/time_zone_data.h"

#include <cstdlib>
#include <fstream>
#include <string_view>

#include "absl/strings/str_cat.h"

#include "stream/task.h"

namespace segmentd {
namespace {

// Begins the first line of tzdata.zi.
constexpr std::string_view kMark = "# version ";

}  // namespace

std::string TimeZoneDataVersion() {
  const char* const set = std::getenv("TZDIR");
  const char* const folder = set != nullptr && *set != '\0' ? set : "/usr/share/zoneinfo";
  std::ifstream file(absl::StrCat(folder, "/tzdata.zi"));
  std::string line;
  std::getline(file, line);
  if (!line.starts_with(kMark)) return std::string(kUnknownTimeZoneData);
  const std::string version =
      line.substr(kMark.size(), line.find_first_of(" \t\r", kMark.size()) - kMark.size());
  return version.empty() ? std::string(kUnknownTimeZoneData) : version;
}

}  // namespace segmentd
