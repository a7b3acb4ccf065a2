# Threads, fibers, a queue, a forked child with pipes, and a socket pair.
# SPDX-License-Identifier: Apache-2.0
require 'socket'
require 'digest'
require 'fileutils'
GATE = ENV['GATE']

def touch(what) = FileUtils.touch("#{GATE}.#{what}")

def work(seed)
  (1..200).reduce(seed.to_s) { |text, i| Digest::SHA256.hexdigest("#{text}#{i}") }
end

server, client = UNIXSocket.pair
child = fork do
  client.close
  while (line = server.gets)
    server.puts work(line.to_i)
  end
  exit!(7)
end
server.close
questions, answers = Queue.new, Queue.new
threads = 3.times.map do
  Thread.new { while (n = questions.pop) do answers << [n, work(n)] end }
end
numbers = Enumerator.new { |out| n = 0; loop { out << (n += 1) } }
wants = (0..9).map { |n| work(n) }
touch('ready')
rounds = 0
until rounds >= 30 && File.exist?("#{GATE}.go")
  10.times { |n| questions << n }
  10.times { n, got = answers.pop; raise "#{n}" unless got == wants[n] }
  client.puts(rounds % 10)
  raise 'child' unless client.gets.chomp == wants[rounds % 10]
  rounds += 1
  raise 'fiber' unless numbers.next == rounds
  raise 'pipe' unless IO.popen(%w[echo hello], &:read) == "hello\n"
  touch('alive')
end
3.times { questions << nil }
threads.each(&:join)
client.close
Process.wait(child)
puts "ok #{$?.exitstatus} #{wants[9]}"
