// SPDX-License-Identifier: BSD-3-Clause
#include "lab.hh"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <stdexcept>
#include <thread>

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace strait::xen::simulated::test {

namespace {

template <typename T>
T must(result<T> r)
{
    if (r.has_error()) {
        throw std::runtime_error{r.error().message};
    }
    return std::move(r).value();
}

} // namespace

bool eventually(const std::function<bool()>& holds, std::chrono::milliseconds patience)
{
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!holds()) {
        if (std::chrono::steady_clock::now() > until) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    return true;
}

lab::lab(const faults& wrong, std::size_t connections)
{
    std::string pattern = std::filesystem::temp_directory_path() / "xen_XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    socket_ = folder_ + "/xen.sock";
    server_ = must(server_thread::start({socket_, wrong, connections}));
}

lab::~lab()
{
    server_.reset();
    std::filesystem::remove_all(folder_);
}

std::unique_ptr<simulated_hypervisor> lab::hypervisor(domain_id own)
{
    return must(simulated_hypervisor::connect(socket_, own));
}

std::unique_ptr<simulated_guest> lab::guest(domain_id own, memory_layout layout)
{
    return must(simulated_guest::connect(socket_, own, layout));
}

std::unique_ptr<tool_stack> lab::tools()
{
    return must(tool_stack::connect(socket_));
}

std::optional<watch_event> next_event(xen::store& s, std::chrono::milliseconds patience)
{
    const auto until = std::chrono::steady_clock::now() + patience;
    for (;;) {
        if (auto e = s.next_event()) {
            return e;
        }
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
        pollfd ready{.fd = s.descriptor(), .events = POLLIN, .revents = 0};
        if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) <= 0) {
            return s.next_event();
        }
    }
}

std::vector<std::pair<std::string, std::string>> all_events(xen::store& s,
                                                            std::chrono::milliseconds quiet)
{
    std::vector<std::pair<std::string, std::string>> all;
    while (auto e = next_event(s, quiet)) {
        all.emplace_back(std::move(e->path), std::move(e->token));
    }
    return all;
}

child::child(std::vector<std::string> words)
    : child{"/proc/self/exe", (words.insert(words.begin(), "--child"), std::move(words))}
{}

child::child(const std::string& program, std::vector<std::string> words)
{
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        throw std::runtime_error{"no pipe"};
    }
    output_ = file_descriptor{ends[0]};
    const file_descriptor its{ends[1]};
    words.insert(words.begin(), program);
    std::vector<char*> pointers;
    for (auto& word : words) {
        pointers.push_back(word.data());
    }
    pointers.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, its.get(), STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, its.get(), STDERR_FILENO);
    const int code =
        ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, pointers.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (code != 0) {
        throw std::runtime_error{program + " cannot be started"};
    }
}

child::~child()
{
    kill();
}

std::string child::line()
{
    std::string text;
    char c = 0;
    while (::read(output_.get(), &c, 1) == 1 && c != '\n') {
        text += c;
    }
    return text;
}

int child::end(int signal)
{
    int status = 0;
    ::kill(pid_, signal);
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void child::kill()
{
    if (pid_ > 0) {
        (void)end(SIGKILL);
    }
}

holdings holdings::now()
{
    const auto count = [](const char* folder) {
        const std::filesystem::directory_iterator all{folder};
        return static_cast<std::size_t>(
            std::distance(begin(all), std::filesystem::directory_iterator{}));
    };
    std::ifstream maps{"/proc/self/maps"};
    std::size_t lines = 0;
    for (std::string line; std::getline(maps, line);) {
        lines += line.find("memfd:xen-domain") != std::string::npos ? 1U : 0U;
    }
    return {count("/proc/self/fd"), lines, ::mallinfo2().uordblks};
}

std::ostream& operator<<(std::ostream& out, const holdings& h)
{
    return out << h.descriptors << " descriptors, " << h.mappings << " mappings, " << h.heap
               << " bytes";
}

} // namespace strait::xen::simulated::test
