#include "app/kafka_option.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"

namespace segmentd {
namespace {

absl::string_view NameOf(const std::string& setting) {
  const absl::string_view text = setting;
  return absl::StripAsciiWhitespace(text.substr(0, text.find('=')));
}

}  // namespace

std::vector<std::string> KafkaSettingLines(const char* text) {
  if (text == nullptr) return {};
  return absl::StrSplit(text, absl::ByAnyChar("\r\n"), absl::SkipEmpty());
}

std::vector<std::string> MergeKafkaSettings(std::vector<std::string> weaker,
                                            const std::vector<std::string>& stronger) {
  for (const std::string& setting : stronger) {
    weaker.erase(std::remove_if(weaker.begin(), weaker.end(),
                                [name = NameOf(setting)](const std::string& other) {
                                  return NameOf(other) == name;
                                }),
                 weaker.end());
    weaker.push_back(setting);
  }
  return weaker;
}

}  // namespace segmentd
