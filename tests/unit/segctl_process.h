// The programs as people run them, in a process of their own.
#pragma once

#include <string>

namespace segmentd {

struct SegctlResult {
  // The exit status.
  int status = -1;
  // What it wrote to standard output.
  std::string text;
};

// `arguments` go through a shell; `server` is where it asks if they don't say.
SegctlResult Segctl(const std::string& arguments, const std::string& server = "127.0.0.1:1");

// segmentd, in the same way.
SegctlResult Segmentd(const std::string& arguments);

// The path of a file with that text.
std::string FileWith(const std::string& name, const std::string& text);

}  // namespace segmentd
