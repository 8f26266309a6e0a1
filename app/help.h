// How --help looks, in both programs: the placeholder after the option, then what it does, its
// default and its environment variable.
#pragma once

#include <string>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"

namespace segmentd {

class Help : public CLI::Formatter {
 public:
  Help();
  std::string make_option_name(const CLI::Option* option, bool is_positional) const override;
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_option_desc(const CLI::Option* option) const override;
};

}  // namespace segmentd
