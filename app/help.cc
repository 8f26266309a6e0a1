#include "app/help.h"

#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

#include "segment/absl_view.h"

namespace segmentd {
namespace {

constexpr size_t kNameColumn = 34;
constexpr size_t kDescriptionColumn = 66;

std::string Wrapped(std::string_view text, size_t width) {
  std::string out;
  size_t column = 0;
  for (const absl::string_view part : absl::StrSplit(AbslView(text), ' ')) {
    const std::string_view word = StdView(part);
    if (column > 0 && column + 1 + word.size() > width) {
      out.push_back('\n');
      column = 0;
    }
    if (column > 0) {
      out.push_back(' ');
      ++column;
    }
    out.append(word);
    column += word.size();
  }
  return out;
}

}  // namespace

Help::Help() {
  column_width(kNameColumn);
}

std::string Help::make_option_name(const CLI::Option* option, bool is_positional) const {
  // CLI11 marks a flag that says no.
  return absl::StrReplaceAll(CLI::Formatter::make_option_name(option, is_positional),
                             {{"{false}", ""}});
}

std::string Help::make_option_opts(const CLI::Option* option) const {
  if (option->get_type_size() == 0) return "";
  return absl::StrCat(" ", option->get_type_name(), option->get_required() ? " (required)" : "");
}

std::string Help::make_option_desc(const CLI::Option* option) const {
  std::vector<std::string> notes;
  const std::string& fallback = option->get_default_str();
  if (option->get_type_size() != 0 && !fallback.empty() && fallback != "[]" && fallback != "\"\"") {
    notes.push_back(absl::StrCat("default ", fallback));
  }
  if (!option->get_envname().empty()) notes.push_back("$" + option->get_envname());
  std::string text = option->get_description();
  if (!notes.empty()) absl::StrAppend(&text, " (", absl::StrJoin(notes, "; "), ")");
  return Wrapped(text, kDescriptionColumn);
}

}  // namespace segmentd
