// The lines of a file, of a gzip file (told by its first bytes), or of standard input ("-").
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

struct gzFile_s;

namespace segmentd {

class LineReader {
 public:
  // Longer lines are cut here and said to be: larger than any event may be.
  static constexpr size_t kMaxLineBytes = 1 << 20;
  // Bytes after a line's end that may be read, though they mean nothing.
  static constexpr size_t kPadding = 64;

  static absl::StatusOr<LineReader> Open(const std::string& path);
  LineReader(LineReader&&) = default;
  LineReader& operator=(LineReader&&) = default;

  struct Line {
    // Without its end; valid until the next call.
    std::string_view text;
    // From 1.
    int64_t number = 0;
    bool cut = false;
  };
  // False at the end. INVALID_ARGUMENT for a damaged file.
  absl::StatusOr<bool> next(Line* line);

  // How far the file has been read, from 0 to 1; negative when nobody knows.
  double progress() const;

 private:
  struct Close {
    void operator()(gzFile_s* file) const;
  };
  LineReader(std::string path, std::unique_ptr<gzFile_s, Close> file, int64_t size);
  // Reads on; keeps what is after `begin_`. False at the end of the file.
  absl::StatusOr<bool> fill();

  std::string path_;
  std::unique_ptr<gzFile_s, Close> file_;
  // Of the file as it lies there; 0 when unknown.
  int64_t size_;
  std::vector<char> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  int64_t number_ = 0;
};

}  // namespace segmentd
