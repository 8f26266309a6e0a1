#include "app/config_file.h"

#include <toml++/toml.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fmt/format.h"

namespace segmentd {
namespace {

absl::Status At(const std::string& path, const toml::source_region& source,
                std::string_view message) {
  return absl::InvalidArgumentError(
      fmt::format("{}, line {}: {}", path, source.begin.line, message));
}

std::optional<std::string> Text(const toml::node& node) {
  if (const auto* string = node.as_string()) return string->get();
  if (const auto* whole = node.as_integer()) return absl::StrCat(whole->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* boolean = node.as_boolean()) return boolean->get() ? "true" : "false";
  return std::nullopt;
}

}  // namespace

absl::StatusOr<std::vector<ConfigLine>> ReadConfigFile(const std::string& path) {
  // As a stream, so that it may be a pipe.
  std::ifstream file(path);
  std::error_code ignored;
  const bool readable = file && !std::filesystem::is_directory(path, ignored);
  std::ostringstream content;
  // Unlike an iterator, this notes an error in reading instead of throwing it.
  if (readable && file.peek() != std::ifstream::traits_type::eof()) content << file.rdbuf();
  if (!readable || file.bad() || !content) {
    return absl::InvalidArgumentError(fmt::format("{}: can't be read", path));
  }
  toml::table table;
  try {
    table = toml::parse(content.str(), path);
  } catch (const toml::parse_error& error) {
    return At(path, error.source(),
              fmt::format("{}. Texts, addresses and durations need quotes: name = \"value\"",
                          error.description()));
  }
  std::vector<ConfigLine> lines;
  for (const auto& [key, node] : table) {
    ConfigLine& line = lines.emplace_back();
    line.name = std::string(key.str());
    if (std::optional<std::string> text = Text(node)) {
      line.values.push_back(*std::move(text));
    } else if (const toml::array* list = node.as_array()) {
      for (const toml::node& item : *list) {
        std::optional<std::string> one = Text(item);
        if (!one)
          return At(path, item.source(), fmt::format("{}: a list of texts is meant", line.name));
        line.values.push_back(*std::move(one));
      }
    } else {
      return At(path, node.source(),
                fmt::format("{}: no option is a table, a date or a time; write name = \"value\"",
                            line.name));
    }
  }
  return lines;
}

std::string QuoteForConfig(const std::string& text) {
  std::ostringstream quoted;
  quoted << toml::toml_formatter(toml::value<std::string>(text));
  return quoted.str();
}

}  // namespace segmentd
