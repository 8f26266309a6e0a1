#include "app/line_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace segmentd {

void LineReader::Close::operator()(gzFile_s* file) const {
  gzclose_r(file);
}

absl::StatusOr<LineReader> LineReader::Open(const std::string& path) {
  const bool standard_input = path == "-";
  const int descriptor =
      standard_input ? dup(STDIN_FILENO) : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat about {};
  if (descriptor < 0 || fstat(descriptor, &about) != 0) {
    const int error = errno;
    if (descriptor >= 0) close(descriptor);
    return absl::NotFoundError(absl::StrCat(path, ": ", strerror(error)));
  }
  if (S_ISDIR(about.st_mode)) {
    close(descriptor);
    return absl::NotFoundError(absl::StrCat(path, ": is a directory, not a file of events"));
  }
  std::unique_ptr<gzFile_s, Close> file(gzdopen(descriptor, "rb"));
  if (file == nullptr) {
    close(descriptor);
    return absl::ResourceExhaustedError(absl::StrCat(path, ": no memory to read it"));
  }
  gzbuffer(file.get(), 256 << 10);
  return LineReader(standard_input ? "standard input" : path, std::move(file),
                    S_ISREG(about.st_mode) ? about.st_size : 0);
}

LineReader::LineReader(std::string path, std::unique_ptr<gzFile_s, Close> file, int64_t size)
    : path_(std::move(path)), file_(std::move(file)), size_(size) {
  buffer_.resize(kMaxLineBytes + (256 << 10) + kPadding);
}

absl::StatusOr<bool> LineReader::fill() {
  if (begin_ > 0) {
    memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  const size_t room = buffer_.size() - kPadding - end_;
  const int got = gzread(file_.get(), buffer_.data() + end_, static_cast<unsigned>(room));
  int error = Z_OK;
  const char* message = gzerror(file_.get(), &error);
  if (got < 0 || (got == 0 && error == Z_BUF_ERROR)) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": after line ", number_, ": ",
                                                   error == Z_ERRNO ? strerror(errno)
                                                   : error == Z_BUF_ERROR
                                                       ? "the gzip data end too early"
                                                       : message));
  }
  end_ += static_cast<size_t>(got);
  return got > 0;
}

absl::StatusOr<bool> LineReader::next(Line* line) {
  size_t searched = 0;
  bool cut = false;
  for (;;) {
    char* const from = buffer_.data() + begin_ + searched;
    void* const found = memchr(from, '\n', end_ - begin_ - searched);
    if (found != nullptr) {
      const size_t length =
          static_cast<size_t>(static_cast<char*>(found) - buffer_.data()) - begin_;
      *line = {{buffer_.data() + begin_, length}, ++number_, cut};
      begin_ += length + 1;
      break;
    }
    searched = end_ - begin_;
    if (searched >= kMaxLineBytes) {
      // Only its beginning is kept, to be shown.
      cut = true;
      end_ = begin_ + 256;
      searched = 256;
    }
    absl::StatusOr<bool> more = fill();
    if (!more.ok()) return more.status();
    if (!*more) {
      if (begin_ == end_) return false;
      // The last line has no end.
      *line = {{buffer_.data() + begin_, end_ - begin_}, ++number_, cut};
      begin_ = end_;
      break;
    }
  }
  if (!line->text.empty() && line->text.back() == '\r') line->text.remove_suffix(1);
  return true;
}

double LineReader::progress() const {
  if (size_ <= 0) return -1;
  const double read = static_cast<double>(gzoffset(file_.get()));
  return read >= static_cast<double>(size_) ? 1 : read / static_cast<double>(size_);
}

}  // namespace segmentd
