// SPDX-License-Identifier: BSD-3-Clause
// What stands behind a serial port.
#include "vmm/devices/console.hh"

#include "control/log.hh"
#include "dataplane/file_descriptor.hh"
#include "ports/unix_socket.hh"
#include "vmm/devices/output_history.hh"
#include "vmm/event.hh"
#include "vmm/file_lock.hh"
#include "vmm/stdio.hh"

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace strait::vmm {

namespace asio = boost::asio;
using boost::system::error_code;
using control::log_level;
using control::log_limited;
using dataplane::file_descriptor;
using local = asio::local::stream_protocol;
using ports::describe;
using ports::error;
using ports::result;
using input_function = std::function<std::size_t(std::span<const std::byte>)>;

namespace {

// A file of bounded size that ends with the newest output.
class bounded_file {
public:
    bounded_file(file_descriptor file, std::uint64_t limit) : limit_{limit}, file_{std::move(file)}
    {
        struct stat status {};
        end_ = ::fstat(file_.get(), &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
    }

    // How many bytes were written, or a negative errno.
    [[nodiscard]] ssize_t append(std::span<const std::byte> from)
    {
        if (end_ + from.size() > limit_) {
            if (const int why = keep_newest(); why != 0) {
                return -why;
            }
        }
        ssize_t done = 0;
        do {
            done = ::pwrite(file_.get(), from.data(), from.size(), at(end_));
        } while (done < 0 && errno == EINTR);
        if (done < 0) {
            return -errno;
        }
        end_ += static_cast<std::uint64_t>(done);
        return done;
    }

private:
    static off_t at(std::uint64_t offset) noexcept { return static_cast<off_t>(offset); }

    // Moves its newest half to its beginning. 0, or errno.
    [[nodiscard]] int keep_newest()
    {
        std::array<std::byte, 65536> chunk;
        std::uint64_t from = end_ - std::min(end_, limit_ / 2);
        std::uint64_t to = 0;
        while (from < end_) {
            const std::size_t size = std::min<std::uint64_t>(chunk.size(), end_ - from);
            const ssize_t got = ::pread(file_.get(), chunk.data(), size, at(from));
            if (got <= 0) {
                break; // somebody has made it shorter
            }
            std::span<const std::byte> part = std::span{chunk}.first(static_cast<std::size_t>(got));
            from += part.size();
            if (to == 0) { // from the first whole line on
                const auto line = std::ranges::find(part, std::byte{'\n'});
                part = part.subspan(
                    line == part.end() ? 0 : static_cast<std::size_t>(line - part.begin()) + 1);
            }
            const ssize_t done = ::pwrite(file_.get(), part.data(), part.size(), at(to));
            if (done != static_cast<ssize_t>(part.size())) {
                return done < 0 ? errno : ENOSPC;
            }
            to += part.size();
        }
        if (::ftruncate(file_.get(), at(to)) != 0) {
            return errno;
        }
        end_ = to;
        return 0;
    }

    std::uint64_t limit_{0};
    file_descriptor file_;
    std::uint64_t end_{0};
};

constexpr bool is_full(int code) noexcept
{
    return code == ENOSPC || code == EDQUOT || code == EFBIG;
}

// Two descriptors: input is taken from one as it comes, output goes to the other.
class channel : public std::enable_shared_from_this<channel> {
public:
    channel(asio::io_context& io, const input_function& take)
        : in_{io}, out_{io}, retry_{io}, take_{take}
    {}

    [[nodiscard]] result<void> open(file_descriptor in, file_descriptor out)
    {
        error_code failed;
        in_.assign(in.get(), failed);
        if (!failed) {
            (void)in.release();
            out_.assign(out.get(), failed);
        }
        if (!failed) {
            (void)out.release();
            out_.native_non_blocking(true, failed);
        }
        return failed ? error{failed.message()} : result<void>{};
    }
    void close()
    {
        error_code ignored;
        open_ = false;
        retry_.cancel();
        in_.close(ignored);
        out_.close(ignored);
    }
    [[nodiscard]] bool is_open() const noexcept { return open_; }

    // Until nobody types any more; somebody may still read then.
    void read()
    {
        in_.async_read_some(asio::buffer(input_),
                            [self = shared_from_this()](error_code failed, std::size_t size) {
                                if (!failed && self->open_) {
                                    self->offer(std::span{self->input_}.first(size));
                                }
                            });
    }

    // How many bytes were written at once, or a negative errno: EAGAIN for no room. When nobody
    // reads any more it is closed; a file may be written again when there is space.
    [[nodiscard]] ssize_t write(std::span<const std::byte> from)
    {
        const ssize_t done = ::write(out_.native_handle(), from.data(), from.size());
        const int why = done < 0 ? errno : 0;
        if (why != 0 && why != EAGAIN && why != EINTR && !is_full(why)) {
            close();
        }
        return why != 0 ? -why : done;
    }
    void when_there_is_room(std::function<void()> then)
    {
        if (!open_ || waiting_) {
            return;
        }
        waiting_ = true;
        out_.async_wait(asio::posix::descriptor_base::wait_write,
                        [self = shared_from_this(), then = std::move(then)](error_code failed) {
                            self->waiting_ = false;
                            if (!failed && self->open_) {
                                then();
                            }
                        });
    }
    // Waits here. False: until then there was none.
    [[nodiscard]] bool wait_for_room(std::chrono::steady_clock::time_point until)
    {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
        pollfd state{.fd = out_.native_handle(), .events = POLLOUT, .revents = 0};
        return open_ && left.count() > 0 && ::poll(&state, 1, static_cast<int>(left.count())) == 1;
    }

private:
    void offer(std::span<const std::byte> some)
    {
        some = some.subspan(take_(some));
        if (some.empty()) {
            read();
            return;
        }
        constexpr std::chrono::milliseconds a_while{50};
        retry_.expires_after(a_while);
        retry_.async_wait([self = shared_from_this(), some](error_code cancelled) {
            if (!cancelled && self->open_) {
                self->offer(some);
            }
        });
    }

    asio::posix::stream_descriptor in_;
    asio::posix::stream_descriptor out_;
    asio::steady_timer retry_;
    const input_function& take_; // not when it is closed
    std::array<std::byte, 1024> input_;
    bool open_{true};
    bool waiting_{false};
};

} // namespace

class console::implementation : public std::enable_shared_from_this<implementation> {
public:
    implementation(asio::io_context& io, event news)
        : news_{std::move(news)},
          history_{news_},
          io_{io},
          wake_{io},
          again_{io},
          acceptor_{io},
          retry_{io}
    {}

    [[nodiscard]] result<void> open(std::string_view where, console_options& o)
    {
        error_code failed;
        wake_.assign(news_.fd(), failed);
        if (failed) {
            return error{"the console cannot be waited for: " + failed.message()};
        }
        if (where == "stdio") {
            return open_stdio();
        }
        if (const auto path = path_of(where, console_file)) {
            if (!o.file) {
                auto opened = open_file(where, o.file_bytes);
                if (opened.has_error()) {
                    return opened.error();
                }
                o.file = std::move(opened).value();
            }
            file_.emplace(std::move(o.file), o.file_bytes);
            output_ = *path;
            return {};
        }
        if (const auto path = path_of(where, console_socket)) {
            return listen(std::string{*path});
        }
        return error{"the console " + std::string{where} +
                     " is none of stdio, file:PATH, socket:PATH and none"};
    }

    void begin()
    {
        if (channel_) {
            channel_->read();
        }
        if (acceptor_.is_open()) {
            accept();
        }
        wait();
        output();
    }

    void close()
    {
        last_words();
        (void)wake_.release(); // the event's
        error_code ignored;
        again_.cancel();
        retry_.cancel();
        acceptor_.close(ignored);
        if (channel_) {
            channel_->close();
        }
        if (mine_.inode != 0 && ports::socket_file::at(path_) == mine_) {
            (void)::unlink(path_.c_str());
        }
        closed_ = true;
        stdio_.reset();
    }

    void put(std::span<const std::byte> from) noexcept { history_.put(from); }
    [[nodiscard]] std::uint64_t lost() const noexcept { return history_.lost(); }

    input_function take{[](std::span<const std::byte> from) { return from.size(); }};

private:
    [[nodiscard]] result<void> open_stdio()
    {
        file_descriptor in{::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)};
        file_descriptor out{::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0)};
        if (!in || !out) {
            return error{"stdin and stdout cannot be the console: " + describe(errno)};
        }
        (void)std::signal(SIGPIPE, SIG_IGN);
        stdio_.emplace();
        channel_ = std::make_shared<channel>(io_, take);
        if (auto opened = channel_->open(std::move(in), std::move(out)); opened.has_error()) {
            return error{"stdin and stdout cannot be the console: " + opened.error().message};
        }
        return {};
    }

    [[nodiscard]] result<void> listen(std::string path)
    {
        if (auto way = ports::make_way_for_socket(path); way.has_error()) {
            return way.error();
        }
        (void)std::signal(SIGPIPE, SIG_IGN);
        error_code failed;
        acceptor_.open(local{}, failed);
        if (!failed) {
            // The umask, so that the socket has its mode from the first moment.
            const mode_t before = ::umask(0177);
            acceptor_.bind(local::endpoint{path}, failed);
            ::umask(before);
        }
        if (!failed) {
            path_ = std::move(path);
            mine_ = ports::socket_file::at(path_);
            acceptor_.listen(asio::socket_base::max_listen_connections, failed);
            return failed ? error{"the console's socket " + path_ +
                                  " cannot be listened on: " + failed.message()}
                          : result<void>{};
        }
        return error{"the console's socket " + path + " cannot be made: " + failed.message()};
    }

    void accept()
    {
        acceptor_.async_accept([self = shared_from_this()](error_code failed, local::socket s) {
            if (!self->closed_) {
                self->accepted(failed, std::move(s));
            }
        });
    }

    void accepted(error_code failed, local::socket client)
    {
        if (!failed) {
            serve(file_descriptor{client.release(failed)});
            accept();
            return;
        }
        // Out of descriptors, most likely: a moment later there may be some.
        retry_.expires_after(std::chrono::seconds{1});
        retry_.async_wait([self = shared_from_this()](error_code cancelled) {
            if (!cancelled && !self->closed_) {
                self->accept();
            }
        });
    }

    void serve(file_descriptor in)
    {
        file_descriptor out{::fcntl(in.get(), F_DUPFD_CLOEXEC, 0)};
        auto next = std::make_shared<channel>(io_, take);
        if (!out || next->open(std::move(in), std::move(out)).has_error()) {
            return; // who was there stays
        }
        if (channel_) {
            channel_->close();
        }
        channel_ = std::move(next);
        position_ = history_.oldest();
        rest_ = {};
        channel_->read();
        output();
    }

    void wait()
    {
        wake_.async_wait(asio::posix::descriptor_base::wait_read,
                         [self = shared_from_this()](error_code cancelled) {
                             if (!cancelled && !self->closed_) {
                                 (void)self->news_.take();
                                 self->output();
                                 self->wait();
                             }
                         });
    }

    enum class progress : std::uint8_t { nothing_to_do, wrote, no_room };

    [[nodiscard]] progress write_some()
    {
        if (!file_ && (!channel_ || !channel_->is_open())) {
            return progress::nothing_to_do;
        }
        if (rest_.empty()) {
            const std::uint64_t lost = history_.lost();
            rest_ = std::span{chunk_}.first(history_.read(position_, chunk_));
            if (const std::uint64_t more = history_.lost() - lost; more != 0) {
                log_limited(log_level::warning, "console",
                            "bytes lost, since nobody took them: " + std::to_string(more));
            }
        }
        if (rest_.empty()) {
            return progress::nothing_to_do;
        }
        const ssize_t written = file_ ? file_->append(rest_) : channel_->write(rest_);
        if (written > 0) {
            rest_ = rest_.subspan(static_cast<std::size_t>(written));
            full_ = false;
            return progress::wrote;
        }
        const int why = static_cast<int>(-written);
        if ((file_ || is_full(why)) && !std::exchange(full_, true)) {
            log_limited(log_level::error, "console",
                        output_ + " cannot be written: " + describe(why) +
                            "; what the guest says last is kept, and tried again");
        }
        return progress::no_room;
    }

    void output()
    {
        for (std::size_t n = 0; n < output_history::capacity / chunk_size; ++n) {
            const progress made = write_some();
            if (made == progress::no_room) {
                wait_for_room();
            }
            if (made != progress::wrote) {
                return;
            }
        }
        news_.signal(); // more, when others have had their turn
    }

    void wait_for_room()
    {
        if (!full_) {
            channel_->when_there_is_room([self = shared_from_this()] { self->output(); });
            return;
        }
        // Nobody says when a file has space again; until then there is no news, since what there is
        // is not all taken.
        again_.expires_after(std::chrono::seconds{1});
        again_.async_wait([self = shared_from_this()](error_code cancelled) {
            if (!cancelled && !self->closed_) {
                self->output();
            }
        });
    }

    // What the guest has said before it went, if who reads takes it soon.
    void last_words()
    {
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{1};
        while (std::chrono::steady_clock::now() < until) {
            const progress made = write_some();
            if (made == progress::nothing_to_do ||
                (made == progress::no_room && (full_ || !channel_->wait_for_room(until)))) {
                return;
            }
        }
    }

    static constexpr std::size_t chunk_size = 16384;

    event news_;
    output_history history_;
    asio::io_context& io_;
    asio::posix::stream_descriptor wake_;
    bool closed_{false};

    std::optional<raw_stdio> stdio_;
    std::optional<bounded_file> file_;
    std::shared_ptr<channel> channel_;
    std::uint64_t position_{0}; // of the history
    std::array<std::byte, chunk_size> chunk_;
    std::span<const std::byte> rest_; // of the chunk, to be written
    std::string output_{"stdout"};    // for the log
    bool full_{false};                // the file that is written; it was told of
    asio::steady_timer again_;

    local::acceptor acceptor_;
    asio::steady_timer retry_;
    std::string path_;
    ports::socket_file mine_;
};

console::console(std::shared_ptr<implementation> i) noexcept : implementation_{std::move(i)} {}

console::~console()
{
    if (implementation_) {
        implementation_->close();
    }
}

result<file_descriptor> console::open_file(std::string_view where, std::uint64_t file_bytes)
{
    const auto given = path_of(where, console_file);
    if (!given) {
        return file_descriptor{};
    }
    const std::string path{*given};
    constexpr mode_t mode = 0640;
    // Not to wait for a FIFO's other end.
    file_descriptor file{
        ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, mode)};
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0) {
        return error{"the console's file " + path + " cannot be opened: " + describe(errno)};
    }
    if (!S_ISREG(status.st_mode)) {
        return error{"the console's file " + path + " is no regular file"};
    }
    if (static_cast<std::uint64_t>(status.st_size) > file_bytes) {
        return error{"the console's file " + path + " has " + std::to_string(status.st_size) +
                     " bytes already, and at most " + std::to_string(file_bytes) +
                     " are kept: move it away"};
    }
    if (lock_file(file.get(), F_WRLCK) != 0) { // as disks are: it may be one
        return error{"the console's file " + path + " is in use, by another guest or as a disk"};
    }
    return file;
}

result<std::unique_ptr<console>> console::open(asio::io_context& io, std::string_view where,
                                               console_options o)
{
    if (where == "none") {
        return std::unique_ptr<console>{new console{nullptr}};
    }
    auto news = event::make();
    if (news.has_error()) {
        return news.error();
    }
    auto i = std::make_shared<implementation>(io, std::move(news).value());
    std::unique_ptr<console> c{new console{i}};
    if (auto opened = i->open(where, o); opened.has_error()) {
        return opened.error();
    }
    i->begin();
    return c;
}

void console::set_input(input_function take)
{
    if (implementation_) {
        implementation_->take = std::move(take);
    }
}

void console::put(std::span<const std::byte> from) noexcept
{
    if (implementation_) {
        implementation_->put(from);
    }
}

std::uint64_t console::lost() const noexcept
{
    return implementation_ ? implementation_->lost() : 0;
}

} // namespace strait::vmm
