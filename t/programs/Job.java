// Objects, threads, garbage and compiled code, stopped in the middle.
// SPDX-License-Identifier: Apache-2.0
import java.io.File;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

public class Job {
    static final String GATE = System.getenv("GATE");

    static long chain(long seed, int rounds) {
        Map<Long, byte[]> kept = new HashMap<>();
        long hash = seed;
        for (int i = 0; i < rounds; i++) {
            hash = hash * 0x5851f42d4c957f2dL + 0x14057b7ef767814fL;
            byte[] block = new byte[(int) (hash >>> 52) + 1];
            block[0] = (byte) hash;
            kept.put(hash >>> 56, block);
            hash ^= hash >>> 31;
        }
        long sum = 0;
        for (byte[] block : kept.values())
            sum = sum * 1 + block[0];
        return hash + sum;
    }

    public static void main(String[] arguments) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        List<Future<Long>> futures = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            final long seed = i;
            futures.add(pool.submit(() -> chain(seed, 60000)));
        }
        long first = 0;
        for (Future<Long> future : futures)
            first += future.get();
        System.out.println("first " + first);
        new File(GATE + ".ready").createNewFile();
        long garbage = 0;
        while (!new File(GATE + ".go").exists()) {
            garbage += new byte[100000].length;
            new File(GATE + ".alive").createNewFile();
            Thread.sleep(20);
        }
        Future<Long> second = pool.submit(() -> chain(99, 60000));
        System.out.println("second " + second.get());
        System.gc();
        pool.shutdown();
        System.out.println("done " + (garbage >= 0));
    }
}
